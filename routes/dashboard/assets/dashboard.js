// Times in the viewer's zone, live updates, copy buttons and keys. Pages work without it.
/* global Idiomorph */
(() => {
  "use strict";
  const root = document.documentElement;
  const base = root.dataset.base ?? "";
  const main = document.getElementById("main");
  root.classList.add("has-js");

  // What the viewer chose, in this browser. Storage may be forbidden.
  const remembered = {
    get(name) {
      try {
        return localStorage.getItem(`bookme.${name}`) === "1";
      } catch {
        return false;
      }
    },
    set(name, is_on) {
      try {
        if (is_on) localStorage.setItem(`bookme.${name}`, "1");
        else localStorage.removeItem(`bookme.${name}`);
      } catch {
        // It holds for this page then.
      }
    },
  };

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function linklike(text, onclick) {
    return make("button", { type: "button", className: "linklike", onclick }, text);
  }

  // --- times ---------------------------------------------------------------------------------------

  const local_zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
  const is_utc_here = /^(Etc\/)?(UTC|GMT|Zulu)$/.test(local_zone);
  let is_utc = is_utc_here || remembered.get("utc");
  const formats = new Map();

  /** Parts of a time in the zone that was chosen. */
  function partsOf(date) {
    const timeZone = is_utc ? "UTC" : local_zone;
    if (!formats.has(timeZone)) {
      formats.set(
        timeZone,
        new Intl.DateTimeFormat("en-GB", {
          timeZone,
          weekday: "short",
          day: "numeric",
          month: "short",
          year: "numeric",
          hour: "2-digit",
          minute: "2-digit",
          second: "2-digit",
          hourCycle: "h23",
          timeZoneName: "short",
        }),
      );
    }
    const parts = formats.get(timeZone).formatToParts(date).map(({ type, value }) => [type, value]);
    return Object.fromEntries(parts);
  }

  const MINUTE = 60_000, HOUR = 3_600_000, DAY = 86_400_000;

  function ageOf(ms) {
    const size = Math.abs(ms);
    if (size < 5_000) return "now";
    const words = size < MINUTE
      ? `${Math.floor(size / 1_000)} s`
      : size < HOUR
      ? `${Math.floor(size / MINUTE)} min`
      : `${Math.floor(size / HOUR)} h`;
    return ms < 0 ? `in ${words}` : `${words} ago`;
  }

  function written(at, style) {
    const date = new Date(at);
    const p = partsOf(date);
    const now = Date.now();
    const today = partsOf(now);
    const year = p.year === today.year ? "" : ` ${p.year}`;
    const day = `${p.day} ${p.month}${year}`;
    const time = `${p.hour}:${p.minute}`;
    if (style === "time") return time;
    if (style === "date") return `${p.day} ${p.month} ${p.year}`;
    if (style === "minute") return `${p.weekday} ${day} ${time}`;
    if (style === "absolute") return `${p.weekday} ${day} ${time}:${p.second}`;
    const is_near = Math.abs(now - date) < 6 * DAY;
    if (style === "step") {
      const is_today = p.day === today.day && p.month === today.month && p.year === today.year;
      return is_today ? `${time}:${p.second}` : `${is_near ? p.weekday : day} ${time}:${p.second}`;
    }
    if (Math.abs(now - date) < DAY) return ageOf(now - date);
    return is_near ? `${p.weekday} ${time}` : day;
  }

  /** Writes all times within an element. */
  function writeTimes(within, only = "") {
    for (const time of within.querySelectorAll(`time[datetime]${only}`)) {
      const { dateTime, dataset } = time;
      const text = written(dateTime, dataset.style ?? "absolute");
      if (time.textContent !== text) time.textContent = text;
      if (only === "") {
        const p = partsOf(new Date(dateTime));
        time.title = `${p.weekday} ${p.day} ${p.month} ${p.year} ` +
          `${p.hour}:${p.minute}:${p.second} ${p.timeZoneName}`;
      }
    }
    if (only === "") {
      for (const text of within.querySelectorAll("text[data-axis]")) writeAxis(text);
    }
  }

  function writeAxis(text) {
    const { at, axis } = text.dataset;
    let date = new Date(at);
    if (axis === "day") {
      // Midnight there is not midnight here: the label moves to where the viewer's day begins.
      const { hour, minute } = partsOf(date);
      const late = Number(hour) * HOUR + Number(minute) * MINUTE;
      date = new Date(date - (late < DAY / 2 ? late : late - DAY));
      const { from, to } = text.ownerSVGElement.dataset;
      const share = (date - new Date(from)) / (new Date(to) - new Date(from));
      text.setAttribute("x", `${Math.max(0, share * 100).toFixed(2)}%`);
    }
    const p = partsOf(date);
    text.textContent = axis === "day" ? `${p.weekday} ${p.day}` : `${p.hour}:${p.minute}`;
  }

  function showZone() {
    const box = document.getElementById("zone");
    if (box === null) return;
    const city = `${local_zone.split("/").pop().replaceAll("_", " ")} time`;
    if (is_utc_here) return;
    const change = linklike(is_utc ? city : "UTC", () => {
      is_utc = !is_utc;
      remembered.set("utc", is_utc);
      writeTimes(document);
      showZone();
      box.querySelector("button").focus();
    });
    change.ariaLabel = `Show times in ${is_utc ? city : "UTC"}`;
    box.replaceChildren(is_utc ? "UTC" : city, " · ", change);
  }

  writeTimes(document);
  showZone();
  setInterval(() => {
    if (!document.hidden) writeTimes(document, '[data-style="relative"]');
  }, 5_000);

  // --- copying -------------------------------------------------------------------------------------

  function select(element) {
    if (element.select) {
      element.focus();
      element.select();
    } else getSelection().selectAllChildren(element);
  }

  async function copy(button) {
    const { copy: text, copyFrom } = button.dataset;
    let source = copyFrom === undefined
      ? button.previousElementSibling
      : document.getElementById(copyFrom);
    if (source?.classList.contains("shown")) {
      source = [...source.children].find((child) => child.offsetParent !== null);
    }
    const wanted = text ?? source?.value ?? source?.textContent ?? "";
    const label = button.dataset.label ??= button.textContent;
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(wanted);
    } catch {
      // Without https there is no clipboard: the text is selected, for the keyboard to copy.
      if ((source?.value ?? source?.textContent) !== wanted) {
        source = make("input", { className: "mono", readOnly: true, value: wanted });
        source.ariaLabel = "Text to copy";
        button.before(source, " ");
      }
      select(source);
      said = "Selected; press Ctrl+C";
    }
    button.textContent = said;
    setTimeout(() => button.textContent = label, 2_000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy], [data-copy-from], [data-keys]");
    if (!button) return;
    if ("keys" in button.dataset) document.getElementById("keys").showModal();
    else copy(button);
  });

  // --- live ----------------------------------------------------------------------------------------

  const live = document.getElementById("live");
  const kinds = main?.dataset.liveKinds?.split(" ") ?? [];
  const policy = globalThis.trustedTypes?.createPolicy("bookme", { createHTML: (text) => text });
  const CALM_MS = 2_000;
  let is_paused = remembered.get("paused");
  let has_ended = false;
  let was_away = false;
  let source = null;
  let timer = 0;
  let next_at = 0;
  let tries = 0;
  let fresh_rows = 0;

  function showLive() {
    if (live === null || kinds.length === 0) return;
    if (has_ended) {
      live.replaceChildren("Session ended · ", make("a", { href: location.href }, "Sign in"));
      return;
    }
    const word = is_paused
      ? "Paused"
      : fresh_rows > 0
      ? `${fresh_rows} new`
      : was_away
      ? "Reconnecting"
      : "Live";
    const button = linklike(is_paused ? "Resume" : "Pause", togglePause);
    const had_focus = live.contains(document.activeElement);
    live.replaceChildren(`${word} · `, button);
    if (had_focus) button.focus();
  }

  function togglePause() {
    is_paused = !is_paused;
    remembered.set("paused", is_paused);
    followPause();
  }

  function followPause() {
    if (is_paused) close();
    else {
      open();
      schedule();
    }
    showLive();
  }

  function open() {
    if (source !== null || is_paused || has_ended || document.hidden || kinds.length === 0) return;
    const { liveEndpoint } = main.dataset;
    const query = liveEndpoint === undefined ? "" : `?endpoint=${encodeURIComponent(liveEndpoint)}`;
    source = new EventSource(`${base}/stream${query}`);
    for (const kind of [...kinds, "many", "reset"]) source.addEventListener(kind, heard);
    source.onopen = () => {
      tries = 0;
      // Of one thing the very change that is waited for may have come before the stream did.
      if (was_away || main.dataset.liveId !== undefined) schedule();
      was_away = false;
      showLive();
    };
    source.onerror = () => {
      was_away = true;
      showLive();
      // The browser connects again by itself, except after an answer that is no stream.
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        probe();
      }
    };
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(timer);
    timer = 0;
  }

  function isOut(response) {
    return response.type === "opaqueredirect" || [401, 403].includes(response.status);
  }

  function end() {
    has_ended = true;
    close();
    showLive();
  }

  /** Finds out why there is no stream: the session may have ended, or the daemon is away for a while. */
  async function probe() {
    try {
      const response = await fetch(`${base}/stream`, { method: "HEAD", redirect: "manual" });
      if (isOut(response)) return end();
      if (response.ok && tries === 0) return open();
    } catch {
      // Away: tried again below.
    }
    tries += 1;
    setTimeout(() => tries > 3 ? probe() : open(), Math.min(30_000, 500 * 2 ** tries));
  }

  function heard({ type, data }) {
    const { liveId } = main.dataset;
    const is_about = liveId === undefined || type === "many" || type === "reset" ||
      data.includes(liveId);
    if (is_about) schedule();
  }

  /** Fetches the page again soon, however much happens at most every two seconds. */
  function schedule() {
    if (timer !== 0 || is_paused || has_ended || document.hidden) return;
    timer = setTimeout(refresh, Math.max(300, next_at - Date.now()));
  }

  async function refresh() {
    try {
      const response = await fetch(location.href, { redirect: "manual" });
      if (isOut(response)) return end();
      if (!response.ok) return;
      const text = await response.text();
      const fresh = new DOMParser().parseFromString(policy?.createHTML(text) ?? text, "text/html");
      if (!is_paused) swap(fresh);
    } catch {
      // The stream notices that the daemon is away.
    } finally {
      next_at = Date.now() + CALM_MS;
      timer = 0;
    }
  }

  function swap(fresh) {
    writeTimes(fresh);
    for (const old of document.querySelectorAll("[data-live][id]")) {
      const now = fresh.getElementById(old.id);
      if (now === null) continue;
      if (old.dataset.live === "list" && old.querySelector("tbody") !== null) collect(old, now);
      else morph(old, now);
    }
    showLive();
  }

  /** Updates rows where they are. New ones wait in a band: nothing moves under the cursor. */
  function collect(old, now) {
    let count = 0;
    for (const row of now.querySelectorAll("tbody > tr[id]")) {
      const known = document.getElementById(row.id);
      if (known === null) count += 1;
      else {
        const before = known.textContent;
        morph(known, row.cloneNode(true));
        if (known.textContent !== before) flash(known);
      }
    }
    fresh_rows = count;
    old.querySelector(".band")?.remove();
    if (count === 0) return;
    const band = make("button", { type: "button", className: "band" }, `${count} new. Show them`);
    band.onclick = () => {
      const ids = new Set([...old.querySelectorAll("tr[id]")].map(({ id }) => id));
      fresh_rows = 0;
      band.remove();
      morph(old, now);
      for (const row of document.querySelectorAll("tbody > tr[id]")) {
        if (!ids.has(row.id)) flash(row);
      }
      showLive();
    };
    old.querySelector("table").before(band);
  }

  function flash(element) {
    element.classList.remove("fresh");
    void element.offsetWidth;
    element.classList.add("fresh");
  }

  function isTouched(field) {
    if (field === document.activeElement) return true;
    if (field.type === "checkbox" || field.type === "radio") {
      return field.checked !== field.defaultChecked;
    }
    if (field.tagName === "SELECT") {
      return [...field.options].some((option) => option.selected !== option.defaultSelected) &&
        [...field.options].some((option) => option.defaultSelected);
    }
    return field.value !== field.defaultValue;
  }

  /** Changes only what differs, and nothing that the viewer typed, opened or selected. */
  function morph(old, now) {
    Idiomorph.morph(old, now, {
      morphStyle: "outerHTML",
      ignoreActiveValue: true,
      callbacks: {
        beforeNodeMorphed(node) {
          if (/^(INPUT|TEXTAREA|SELECT)$/.test(node.nodeName)) {
            // With another `once`, a second click on a form would act a second time.
            return node.type === "hidden" ? node.name !== "once" : !isTouched(node);
          }
          const selection = getSelection();
          return !(node.nodeType === Node.TEXT_NODE && !selection.isCollapsed &&
            selection.containsNode(node, true));
        },
        beforeNodeRemoved: (node) => !node.matches?.(".once, .notice, .band"),
        beforeAttributeUpdated: (name, node) =>
          !(name === "data-selected" || (name === "open" && node.nodeName === "DETAILS")),
      },
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else {
      open();
      schedule();
    }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) followPause();
  });
  addEventListener("storage", ({ key }) => {
    if (key !== "bookme.paused" || remembered.get("paused") === is_paused) return;
    is_paused = !is_paused;
    followPause();
  });
  showLive();
  open();

  // --- keys ----------------------------------------------------------------------------------------

  const dialog = document.getElementById("keys");
  const off = document.getElementById("keys-off");
  if (off !== null) {
    off.checked = remembered.get("keys-off");
    off.onchange = () => remembered.set("keys-off", off.checked);
  }

  function step(by) {
    const rows = [...main.querySelectorAll("tr:has(a.row)")];
    const at = rows.findIndex((row) => "selected" in row.dataset);
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
    if (next === undefined) return;
    delete rows[at]?.dataset.selected;
    next.dataset.selected = "";
    next.querySelector("a.row").focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  const KEYS = {
    "/": () => document.querySelector(".search input")?.focus(),
    j: () => step(1),
    k: () => step(-1),
    o: () => main.querySelector("[data-selected] a.row")?.click(),
    r: () => document.querySelector('[data-key="r"]')?.click(),
    p: () => kinds.length > 0 && !has_ended && togglePause(),
    "?": () => dialog.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    const { key, target, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || event.defaultPrevented || dialog === null) return;
    const is_typing = target.closest?.(
      "input:not([type=checkbox], [type=radio]), textarea, select",
    );
    if (is_typing || dialog.open || remembered.get("keys-off") || !Object.hasOwn(KEYS, key)) return;
    event.preventDefault();
    KEYS[key]();
  });
})();
