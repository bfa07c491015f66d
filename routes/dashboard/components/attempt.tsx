import { Buffer } from "node:buffer";
import type * as shown from "../../../lib/admin/shown.ts";
import { curlLines } from "../../../lib/core/curl.ts";
import { prettyJson } from "../../../lib/core/pretty_json.ts";
import { knownTitle } from "../../../lib/core/problem.ts";
import { metTitle } from "../verdicts/attempts.ts";
import { advised } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";
import { State } from "./state.tsx";
import { type Content, CopyFrom } from "./text.tsx";
import { durationWords, Moment } from "./time.tsx";

/** Longer bodies are shown raw only: each further view would send them once more. */
const MAX_VIEWED = 64 * 1024;

/** An attempt: where its time went, its request beside its response. */
export function AttemptDetails({ attempt, open, visit, help }: {
  readonly attempt: shown.Attempt;
  readonly open: boolean;
  readonly visit: Visit;
  /** Under the response: what the outcome means, and a link to its remedy. */
  readonly help?: Content;
}) {
  const { number, outcome, address, duration_ms, started_at } = attempt;
  return (
    <details class="attempt" id={`attempt-${number}`} open={open}>
      <summary>
        <strong>Attempt {number}</strong>
        <State
          kind={outcome === "delivered" ? "delivered" : "failed"}
          word={metTitle(attempt, visit.house.audience)}
        />
        <span class="took">{durationWords(duration_ms)}</span>
        <span class="rest">{address}</span>
        <Moment at={started_at} />
      </summary>
      <TimeBar attempt={attempt} />
      <div class="split halves">
        <RequestPane attempt={attempt} />
        <ResponsePane attempt={attempt} visit={visit} help={help} />
      </div>
    </details>
  );
}

/** The phases of an attempt as a bar, and their numbers under it. */
export function TimeBar({ attempt }: { readonly attempt: shown.Attempt }) {
  const { phases, duration_ms } = attempt;
  const { dns_ms, connect_ms, tls_ms, waiting_ms, reused } = phases;
  const parts = ([
    ["DNS", dns_ms],
    ["Connect", connect_ms],
    ["TLS", tls_ms],
    ["Waiting for an answer", waiting_ms],
  ] as const).map(([label, ms], index) => ({ label, ms, step: index + 1 }))
    .filter((part): part is { label: typeof part.label; ms: number; step: number } =>
      part.ms !== null
    );
  const total = Math.max(duration_ms, parts.reduce((sum, { ms }) => sum + ms, 0), 0.001);
  let before = 0;
  return (
    <div class="timebar">
      <svg width="100%" height="10" aria-hidden="true">
        <rect class="track" width="100%" height="10" />
        {parts.map(({ ms, step }) => {
          const x = before;
          before += ms / total * 100;
          return (
            <rect
              class={`step${step}`}
              x={`${x.toFixed(2)}%`}
              width={`${(ms / total * 100).toFixed(2)}%`}
              height="10"
            />
          );
        })}
      </svg>
      <ul>
        {parts.map(({ label, ms, step }) => (
          <li>
            <i class={`swatch step${step}`} aria-hidden="true"></i>
            {label} <b>{precise(ms)}</b>
          </li>
        ))}
        {reused === true ? <li>On an open connection</li> : null}
        <li>
          Total <strong>{precise(duration_ms)}</strong>
        </li>
      </ul>
    </div>
  );
}

function precise(ms: number): string {
  return ms < 1_000 ? `${ms.toFixed(1)} ms` : durationWords(ms);
}

function RequestPane({ attempt }: { readonly attempt: shown.Attempt }) {
  const { request, payload_hidden, number } = attempt;
  if (request === null) {
    return (
      <Pane title="Request">
        <p class="note">Nothing was sent, or no word came back of it.</p>
      </Pane>
    );
  }
  const { url, headers, body } = request;
  const target = URL.parse(url);
  const path = target === null ? url : target.pathname + target.search;
  const has_host = Object.keys(headers).some((name) => name.toLowerCase() === "host");
  const lines: readonly (readonly [string, string])[] = [
    ...(has_host || target === null ? [] : [["Host", target.host] as const]),
    ...Object.entries(headers),
  ];
  const gone = payload_hidden
    ? "Payload hidden: this token may see deliveries, not their contents."
    : "Payload gone: erased, or older than retention.payloads.";
  return (
    <Views
      title="Request"
      id={`attempt-${number}-request`}
      head={`POST ${path} HTTP/1.1`}
      lines={lines}
      body={body === null ? null : { text: body, is_text: true, note: null }}
      gone={gone}
      curl={body === null || body.length > MAX_VIEWED
        ? null
        : curlLines({ url, headers, body }).join("\n")}
    />
  );
}

function ResponsePane({ attempt, visit, help }: {
  readonly attempt: shown.Attempt;
  readonly visit: Visit;
  readonly help: Content;
}) {
  const { response, payload_hidden, number, outcome, cause, advice } = attempt;
  const remarks = (
    <>
      {advice === null && cause === null ? null : (
        <p class="note">
          {outcome === "delivered" ? null : <strong>{`${reasonWord(attempt, visit)}: `}</strong>}
          <Advice text={advice ?? cause ?? ""} attempt={attempt} visit={visit} />.
        </p>
      )}
      {help === undefined ? <HelpLink attempt={attempt} visit={visit} /> : help}
    </>
  );
  if (response === null) {
    return (
      <Pane title="Response">
        <p class="none">
          {payload_hidden
            ? "Response hidden: this token may see deliveries, not their contents."
            : attempt.status === null
            ? "No response."
            : "Response gone: erased."}
        </p>
        {remarks}
      </Pane>
    );
  }
  const { status, headers, body, body_encoding, truncated } = response;
  const bytes = body_encoding === "base64" ? Buffer.from(body, "base64") : null;
  const binary = bytes === null ? null : `${bytes.length} bytes, not text`;
  const cut = truncated ? "cut off: only the beginning was kept" : null;
  const notes = [binary, cut].filter((note) => note !== null);
  return (
    <Views
      title="Response"
      id={`attempt-${number}-response`}
      head={status === null ? null : `HTTP/1.1 ${status}${phraseOf(status)}`}
      lines={headers}
      body={{
        text: bytes === null ? body : hexLines(bytes),
        is_text: bytes === null,
        note: notes.length === 0 ? null : notes.join("; "),
      }}
      gone=""
      curl={null}
    >
      {remarks}
    </Views>
  );
}

/** Advice, which names a command where pages have the signature checker. */
function Advice({ text, attempt, visit }: {
  readonly text: string;
  readonly attempt: shown.Attempt;
  readonly visit: Visit;
}) {
  const id = attempt.request?.headers["X-BookMe-Delivery-Id"] ?? null;
  return (
    <>
      {advised(text, visit.house.base, id).map((part) =>
        typeof part === "string"
          ? part
          : "text" in part
          ? <a href={part.href}>{part.text}</a>
          : "code" in part
          ? <code>{part.code}</code>
          : "at" in part
          ? <Moment at={part.at} style="minute" />
          : <strong>{part.strong}</strong>
      )}
    </>
  );
}

function reasonWord(attempt: shown.Attempt, { house }: Visit): string {
  if (house.audience === "business") return metTitle(attempt, house.audience);
  const { outcome, status } = attempt;
  return status === null ? outcome : `${outcome}, ${status}`;
}

function HelpLink({ attempt, visit }: {
  readonly attempt: shown.Attempt;
  readonly visit: Visit;
}) {
  const { outcome, status } = attempt;
  if (outcome === "delivered") return null;
  const means = visit.house.audience === "business" ? "What this means" : `What ${outcome} means`;
  return (
    <p class="note">
      <a href={`${visit.house.base}/help#${outcome}`}>
        {status === null || outcome === "timeout" ? means : `How to fix a ${status}`}
      </a>
    </p>
  );
}

function Pane({ title, children }: { readonly title: string; readonly children: Content }) {
  return (
    <div class="pane">
      <h3>{title}</h3>
      {children}
    </div>
  );
}

interface Body {
  readonly text: string;
  readonly is_text: boolean;
  /** In a line of its own after it. */
  readonly note: string | null;
}

/** Raw, pretty and as curl; radio buttons choose, so that it needs no script. */
function Views({ title, id, head, lines, body, gone, curl, children }: {
  readonly title: string;
  readonly id: string;
  readonly head: string | null;
  readonly lines: readonly (readonly [string, string])[];
  readonly body: Body | null;
  /** Instead of a body that is null. */
  readonly gone: string;
  readonly curl: string | null;
  readonly children?: Content;
}) {
  const pretty = body?.is_text && body.text.length <= MAX_VIEWED ? prettyJson(body.text) : null;
  const is_pretty = pretty !== null && pretty !== body?.text;
  const view = (text: string | null) => (
    <>
      {head === null ? null : <b>{head}{"\n"}</b>}
      {lines.map(([name, value]) => (
        <>
          <span>{name}:</span>
          {` ${value}\n`}
        </>
      ))}
      {head === null && lines.length === 0 ? "" : "\n"}
      {text === null ? <i>{gone}</i> : text}
    </>
  );
  const views: readonly (readonly [string, Content])[] = [
    ["Raw", view(body?.text ?? null)],
    ...(is_pretty ? [["Pretty", view(pretty)] as const] : []),
    ...(curl === null ? [] : [["curl", curl] as const]),
  ];
  return (
    <div class="pane">
      <h3>{title}</h3>
      <div class={`views n${views.length}`}>
        {views.length === 1 ? null : views.map(([label], index) => (
          <>
            <input
              type="radio"
              name={id}
              id={`${id}-${index}`}
              checked={index === 0}
              aria-label={`${title}: ${label}`}
            />
            <label for={`${id}-${index}`} aria-hidden="true">{label}</label>
          </>
        ))}
        <CopyFrom id={`${id}-views`} what={title.toLowerCase()} />
        <div id={`${id}-views`} class="shown">
          {views.map(([, content]) => <pre class="code" tabindex={0}>{content}</pre>)}
        </div>
      </div>
      {body?.note === null || body === null ? null : <p class="note">{body.note}</p>}
      {children}
    </div>
  );
}

/** Bytes as people read them: offset, sixteen in hexadecimal, and those that are printable ASCII. */
export function hexLines(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${hex.padEnd(47)}  ${text.join("")}`);
  }
  return lines.join("\n");
}

/** ` Unauthorized`, with a space before it; empty for a status without a usual phrase. */
function phraseOf(status: number): string {
  const title = knownTitle(status);
  return title === undefined ? "" : ` ${title}`;
}
