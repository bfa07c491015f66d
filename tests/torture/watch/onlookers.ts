import { messageOf } from "../../../lib/core/errors.ts";
import { makeMessageReader } from "../../../lib/core/server_sent.ts";
import { readScrape, type Scrape } from "../../support/metrics.ts";
import { sleep, until } from "../../support/wait.ts";
import type { Violation } from "../ledger.ts";
import { originOf, type Place } from "../client.ts";
import type { Random } from "../random.ts";
import { type Answer, ask, makeBrowser, Unanswered } from "./browser.ts";
import { foreignIn } from "./checks.ts";
import type { Reader } from "./watched.ts";

/** A daemon, as onlookers know it. */
export interface Shown extends Place {
  readonly name: string;
  /** Its present life. */
  readonly holder: string;
}

/** People and programs that look at daemons while these are struck. */
export interface Onlookers {
  start(): void;
  /** Goes through everything once more: all of it must be there now. */
  look(): Promise<void>;
  stop(): Promise<void>;
  readonly readers: readonly Reader[];
}

export interface OnlookersOptions {
  readonly daemons: () => readonly Shown[];
  readonly random: Random;
  /** An admin token, and what no answer may have. */
  readonly token: string;
  readonly secrets: readonly string[];
  /** The token of a business's portal link; rejects while none can be had. */
  readonly linkOf: (business: string) => Promise<string>;
  /** Public ids of events of this business, or of any other. */
  readonly eventsOf: (business: string, own: boolean) => readonly string[];
  /** Endpoints that may be retired, and come back: what is counted of them begins again. */
  readonly retirable: () => readonly string[];
  readonly find: (violation: Violation) => void;
}

export const BUSINESSES = ["bus_1", "bus_2"] as const;
/** What only operators may see: their endpoints, and ids of what belongs to these. */
const OPERATORS_WORDS = ["moody", "picky", "doomed", "victim", "leaver", "watcher"];
/** An onlooker's pause between two requests. */
const PAUSE_MS = [500, 1_500] as const;
const SCRAPE_MS = 1_500;
/** A stream that was cut off is open again by then. */
const READY_MS = 45_000;

const PAGES = [
  "",
  "/endpoints",
  "/endpoints/doomed",
  "/deliveries",
  "/deliveries?status=failed",
  "/deliveries/DLV",
  "/events/EVT",
  "/alerts",
  "/audit",
  "/replays",
  "/event-types",
  "/help",
  "/search?q=bus_1",
];

type Finds = (text: string) => void;

/** Opens an operator's pages of every daemon, its stream and metrics, and the portal of two businesses. */
export function openOnlookers(options: OnlookersOptions): Onlookers {
  const { random, daemons } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const running: Promise<void>[] = [];
  const found = (invariant: "G" | "I") => (text: string) => options.find({ invariant, text });
  const judge = (where: string, answer: Answer) => {
    judgeAnswer(where, answer, options.secrets, found("G"), found("I"));
  };
  const operators = new Map<string, ReturnType<typeof makeOperator>>();
  const operatorOf = ({ name }: Shown) => {
    const operator = operators.get(name) ?? makeOperator(options.token, judge);
    operators.set(name, operator);
    return operator;
  };
  const streams = new Map<string, Stream>();
  const streamOf = ({ name }: Shown) => {
    const stream = streams.get(name) ?? makeStream(
      () => Promise.resolve(options.token),
      (text) => judge(`${name} /api/stream`, { status: 200, type: "", text }),
    );
    streams.set(name, stream);
    return stream;
  };
  const businesses = BUSINESSES.map((business) => makeVisitor(business, options, judge));
  const scrapes = makeScrapes(options, judge, found("G"));

  // While something is broken, any request may stay unanswered.
  const again = async (pause: () => number, act: () => Promise<unknown>) => {
    while (!signal.aborted) {
      await act().catch((error) => {
        if (!(error instanceof Unanswered)) found("G")(`An onlooker: ${messageOf(error)}`);
      });
      await sleep(pause());
    }
  };
  const pause = () => random.int(...PAUSE_MS);

  async function lookAt(daemon: Shown): Promise<void> {
    for (const page of PAGES) {
      const { status, text } = await operatorOf(daemon).visit(daemon, page);
      if (status === 200) continue;
      const said = text.slice(0, 200);
      found("G")(`${daemon.holder}: /dashboard${page} is ${status} with all well: ${said}`);
    }
    await scrapes.scrape(daemon);
    for (const visitor of businesses) await visitor.look(daemon, found("G"));
  }

  return {
    start() {
      for (const daemon of daemons()) {
        running.push(
          again(pause, () => operatorOf(daemon).visit(daemon, random.pick(PAGES))),
          again(() => SCRAPE_MS, () => scrapes.scrape(daemon)),
          again(pause, () => streamOf(daemon).follow(daemon, signal)),
        );
      }
      for (const visitor of businesses) {
        const place = () => random.pick(daemons());
        running.push(
          again(pause, () => visitor.visit(place())),
          again(pause, () => visitor.stream.follow(place(), signal)),
        );
      }
    },
    async look() {
      const all = [...streams.values(), ...businesses.map(({ stream }) => stream)];
      await until("streams are ready", () => all.every(({ is_ready }) => is_ready), READY_MS)
        .catch(() => {
          const states = all.filter(({ is_ready }) => !is_ready).map(({ state }) => state);
          found("G")(`streams show nothing with all well: ${states.join("; ")}`);
        });
      for (const daemon of daemons()) {
        await lookAt(daemon).catch((error) => {
          found("G")(`${daemon.holder}, with all well: ${messageOf(error)}`);
        });
      }
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
    readers: businesses.map(({ reader }) => reader),
  };
}

/** Statuses that say that something is broken, or too slow, or under way. */
const UNWELL = new Set([429, 503, 504]);

function judgeAnswer(
  where: string,
  { status, type, text }: Answer,
  secrets: readonly string[],
  isWrong: Finds,
  isLeak: Finds,
): void {
  if (status >= 500 && !UNWELL.has(status)) {
    isWrong(`${where} was answered with ${status}: ${text.slice(0, 200)}`);
  }
  if (type.startsWith("text/html") && status === 200 && !text.trimEnd().endsWith("</html>")) {
    isWrong(`${where} was answered with half a page of ${text.length} characters`);
  }
  if (secrets.some((secret) => text.includes(secret))) isLeak(`${where} shows a secret`);
}

type Judge = (where: string, answer: Answer) => void;

/** An operator at the pages of one daemon, who signs in whenever that is asked for. */
function makeOperator(token: string, judge: Judge) {
  const browser = makeBrowser();
  const ids = { DLV: "", EVT: "" };
  return {
    async visit(place: Place, page: string): Promise<Answer> {
      const base = `${originOf(place)}/dashboard`;
      const path = page.replace(/DLV|EVT/, (name) => ids[name as keyof typeof ids]);
      let answer = await browser.get(base + path);
      judge(`/dashboard${path}`, answer);
      if (answer.status === 303) {
        judge("/dashboard/login", await browser.post(`${base}/login`, { token }));
        answer = await browser.get(base + path);
        judge(`/dashboard${path}`, answer);
      }
      ids.DLV = /\bdlv_[0-9a-z]+/.exec(answer.text)?.[0] ?? ids.DLV;
      ids.EVT = /\bevt_[0-9a-z]+/.exec(answer.text)?.[0] ?? ids.EVT;
      return answer;
    },
  };
}

/** Scrapes daemons: what one life counts never goes down. */
function makeScrapes(
  { token, retirable }: Pick<OnlookersOptions, "token" | "retirable">,
  judge: Judge,
  isWrong: Finds,
) {
  const last = new Map<string, Scrape>();
  return {
    async scrape(daemon: Shown): Promise<void> {
      const { holder } = daemon;
      const answer = await ask(`${originOf(daemon)}/metrics`, {
        headers: { authorization: `Bearer ${token}` },
      });
      judge(`${holder} /metrics`, answer);
      if (answer.status !== 200 || daemon.holder !== holder) return;
      const now = readScrape(answer.text);
      for (const series of fallen(last.get(holder), now)) {
        if (retirable().some((id) => series.includes(`endpoint="${id}"`))) continue;
        isWrong(`${holder}: ${series} went down`);
      }
      last.set(holder, now);
    },
  };
}

/** Counters, and those that histograms consist of, which are less than before. Those of retired endpoints go. */
export function fallen(before: Scrape | undefined, now: Scrape): string[] {
  if (before === undefined) return [];
  return [...before.values].filter(([series, value]) => {
    const name = series.replace(/\{.*/s, "");
    const type = now.families.get(name)?.type ??
      now.families.get(name.replace(/_(bucket|count|sum)$/, ""))?.type;
    return (type === "counter" || type === "histogram") &&
      (now.values.get(series) ?? value) < value;
  }).map(([series]) => series);
}

/** A stream that is followed, again whenever it ends. */
interface Stream {
  /** How it is, in words. */
  state: string;
  /** Whether it shows what happens from now on. */
  is_ready: boolean;
  follow(place: Place, signal: AbortSignal): Promise<void>;
}

/** `heard` gets each message. */
function makeStream(token: () => Promise<string>, heard: (text: string) => void): Stream {
  const stream: Stream = {
    state: "not opened",
    is_ready: false,
    async follow(place, signal) {
      try {
        stream.state = `asked ${originOf(place)} at ${new Date().toISOString()}`;
        const response = await fetch(`${originOf(place)}/api/stream`, {
          headers: { authorization: `Bearer ${await token()}` },
          signal,
        });
        stream.state += `, answered with ${response.status}`;
        const read = makeMessageReader();
        for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
          if (response.status !== 200) continue;
          for (const { event, data } of read(piece)) {
            stream.is_ready ||= event === "ready";
            heard(data);
          }
        }
      } catch (cause) {
        throw new Unanswered("The stream broke off", { cause });
      } finally {
        stream.is_ready = false;
      }
    },
  };
  return stream;
}

const API = [
  "/api/events?limit=20",
  "/api/events/OWN",
  "/api/deliveries?limit=20",
  "/api/endpoints",
  "/api/stats?window=1h",
  "/api/audit",
  "/api/replays",
];
const PORTAL_PAGES = ["", "/events/OWN", "/deliveries", "/endpoints", "/search?q=QUERY", "/audit"];
/** What belongs to others: for a business it is not there. */
const FOREIGN = ["/api/events/FOREIGN", "/portal/events/FOREIGN"];
const ELSEWHERE = ["/api/alerts", "/api/erasures", "/api/daemons", "/api/config", "/metrics"];

/** A business that has opened its portal link, and a program with the link's token. */
function makeVisitor(business: string, options: OnlookersOptions, judge: Judge) {
  const { random, linkOf, eventsOf } = options;
  const browser = makeBrowser();
  const events = new Set<string>();
  const ways = new Set<string>();
  const foreign = new Set<string>();
  let token: string | undefined;

  function read(way: string, where: string, text: string): void {
    for (const word of foreignIn(text, business, OPERATORS_WORDS)) {
      foreign.add(`${word} in ${where}`);
    }
    // No endpoint is its own: no delivery is, and no alert.
    for (const [id] of text.matchAll(/\b(?:dlv|alr|ers)_[0-9a-z]{15,}/g)) {
      foreign.add(`${id} in ${where}`);
    }
    for (const [id] of text.matchAll(/\bevt_[0-9a-z]{15,}/g)) {
      events.add(id);
      ways.add(way);
    }
  }

  async function link(): Promise<string> {
    return token ??= await linkOf(business);
  }

  async function api(place: Place, path: string): Promise<Answer> {
    const answer = await ask(`${originOf(place)}${path}`, {
      headers: { authorization: `Bearer ${await link()}` },
    });
    judge(path, answer);
    return answer;
  }

  async function page(place: Place, path: string): Promise<Answer> {
    const base = `${originOf(place)}/portal`;
    let answer = await browser.get(base + path);
    judge(`/portal${path}`, answer);
    if ([200, 404].includes(answer.status) || UNWELL.has(answer.status)) return answer;
    judge("/portal/open", await browser.post(`${base}/open/${await link()}`, {}));
    answer = await browser.get(base + path);
    judge(`/portal${path}`, answer);
    return answer;
  }

  /** The answer to one of the paths above; undefined if it names an event and none is known. */
  async function get(place: Place, path: string): Promise<Answer | undefined> {
    const [own, other] = [true, false].map((is_own) => eventsOf(business, is_own).at(-1));
    if ((path.includes("OWN") && !own) || (path.includes("FOREIGN") && !other)) return undefined;
    const named = path.replace("OWN", own ?? "").replace("FOREIGN", other ?? "")
      .replace("QUERY", `apt_${business}`);
    const is_page = !named.startsWith("/api") && named !== "/metrics";
    const answer = is_page
      ? await page(place, named.replace(/^\/portal/, ""))
      : await api(place, named);
    // The id that was asked for may be repeated.
    const text = path.includes("FOREIGN") ? answer.text.replaceAll(other ?? "", "") : answer.text;
    read(is_page ? "pages" : "api", `${is_page ? "/portal" : ""}${named}`, text);
    return answer;
  }

  function refused(path: string, answer: Answer | undefined): void {
    if (answer === undefined || answer.status >= 400) return;
    foreign.add(`${path}, answered with ${answer.status}`);
  }

  return {
    reader: {
      business,
      events,
      ways,
      get foreign() {
        return [...foreign];
      },
    },
    async visit(place: Place): Promise<void> {
      const path = random.pick([...API, ...PORTAL_PAGES, ...FOREIGN, ...ELSEWHERE]);
      const answer = await get(place, path);
      if (FOREIGN.includes(path) || ELSEWHERE.includes(path)) refused(path, answer);
    },
    async look(place: Place, isWrong: Finds): Promise<void> {
      for (const path of [...API, ...PORTAL_PAGES]) {
        const answer = await get(place, path);
        if (answer === undefined || answer.status === 200) continue;
        isWrong(
          `${business}: ${path} is ${answer.status} with all well: ${answer.text.slice(0, 200)}`,
        );
      }
      for (const path of [...FOREIGN, ...ELSEWHERE]) {
        const answer = await get(place, path);
        refused(path, answer);
        if (answer === undefined || answer.status === 404) continue;
        isWrong(`${business}: ${path} is ${answer.status}, not 404: ${answer.text.slice(0, 200)}`);
      }
    },
    stream: makeStream(link, (text) => read("stream", "/api/stream", text)),
  };
}
