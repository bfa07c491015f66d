import { Buffer } from "node:buffer";
import type { SignatureCheck } from "../../admin/shown.ts";
import { readBytes } from "../../config/references.ts";
import { secretMistake } from "../../core/secret.ts";
import {
  diagnose,
  type Finding,
  type Received,
  type StandardHeaders,
} from "../../core/diagnose.ts";
import {
  command,
  readOption,
  readPrevious,
  readSecret,
  SECRET_VALUE,
  UsageError,
} from "../command.ts";
import { API_OPTIONS, type ApiValues, openApi } from "../daemon_api/client.ts";
import { type Io, paletteOf } from "../terminal.ts";

const MAX_BODY_BYTES = 64 * 1024 * 1024;

export const verify = command({
  name: "verify",
  summary: "Checks a signature, and names the likely mistake",
  about:
    `Pass the body as your server received it, the header, and the secret. If the signature does not
match, it tries the usual mistakes: a body parsed and serialised again (white space, key order,
numbers, escapes), a trailing newline, a wrong character set, a missing sha256=, the previous
secret, a key decoded or not. Exits with 0 if valid, 1 if not.`,
  options: {
    body: { type: "string", value: "FILE|-", about: "The body, exactly as received" },
    signature: { type: "string", value: "HEADER", about: "Value of X-BookMe-Signature" },
    "webhook-id": { type: "string", value: "HEADER", about: "Value of webhook-id" },
    "webhook-timestamp": { type: "string", value: "HEADER", about: "Value of webhook-timestamp" },
    "webhook-signature": { type: "string", value: "HEADER", about: "Value of webhook-signature" },
    secret: { type: "string", value: SECRET_VALUE, about: "Source of the secret" },
    endpoint: {
      type: "string",
      value: "ID",
      completes: "endpoints",
      about: "Instead of --secret: checks with the secrets of this endpoint",
    },
    "previous-secret": {
      type: "string",
      multiple: true,
      value: SECRET_VALUE,
      about: "An earlier secret, to recognise it; repeatable",
    },
    ...API_OPTIONS,
  },
  examples: [
    [
      "bookme-webhooks verify --body body.json --signature sha256=5f2b… --secret env:BOOKME_SECRET",
      "X-BookMe-Signature",
    ],
    [
      "bookme-webhooks verify --body body.json --webhook-id evt_… --webhook-timestamp 1764000000 \\\n" +
      "    --webhook-signature v1,K5oZ… --secret file:crm.secret",
      "The three headers of Standard Webhooks",
    ],
    [
      "bookme-webhooks verify --body body.json --signature sha256=5f2b… --endpoint crm",
      "Without knowing the secret: the daemon has it",
    ],
  ],
  async run({ io, values }) {
    const { body: path, secret: reference, endpoint, signature } = values;
    if (path === undefined) throw new UsageError("--body is missing: a file, or - for stdin");
    if (endpoint === undefined && reference === undefined) {
      throw new UsageError(`--secret is missing: ${SECRET_VALUE}; or --endpoint`);
    }
    if (endpoint !== undefined && (reference ?? values["previous-secret"][0]) !== undefined) {
      throw new UsageError("--endpoint stands without secrets: the daemon has them");
    }
    if ([path, reference, ...values["previous-secret"]].filter((one) => one === "-").length > 1) {
      throw new UsageError("Only one of body and secrets can come from standard input");
    }
    const keys = reference === undefined ? null : {
      secret: await readSecret(io, "--secret", reference),
      previous: await readPrevious(io, values["previous-secret"]),
    };
    const standard = standardHeaders(values);
    if (signature === undefined && standard === undefined) {
      throw new UsageError("--signature is missing (or the three --webhook-… headers)");
    }
    const body = path === "-"
      ? await io.stdin()
      : readOption("--body", () => readBytes(path, MAX_BODY_BYTES));
    const received = { body, signature: headerValue(signature), standard };
    if (keys === null) return await askDaemon(io, values, endpoint ?? "", received);
    const findings = diagnose(received, keys, Date.now() / 1000);
    for (const [name, finding] of findings) tell(io, name, finding);
    const all_valid = findings.every(([, finding]) => finding.valid);
    const mistake = secretMistake(keys.secret);
    if (!all_valid && mistake !== undefined) io.out(`  The secret given: ${mistake}`);
    return all_valid ? 0 : 1;
  },
});

/** The headers of Standard Webhooks, all of them or none. */
function standardHeaders(
  values: Readonly<Record<`webhook-${"id" | "timestamp" | "signature"}`, string | undefined>>,
): StandardHeaders | undefined {
  const headers = {
    id: headerValue(values["webhook-id"]),
    timestamp: headerValue(values["webhook-timestamp"]),
    signature: headerValue(values["webhook-signature"]),
  };
  const parts = Object.values(headers).filter((value) => value !== undefined).length;
  if (parts === 0) return undefined;
  if (parts === 3) return headers;
  throw new UsageError(
    "--webhook-id, --webhook-timestamp and --webhook-signature belong together",
  );
}

/** Has the daemon check with an endpoint's secrets. */
async function askDaemon(
  io: Io,
  values: ApiValues,
  endpoint: string,
  { body, signature, standard }: Received,
): Promise<number> {
  const api = await openApi(io, values);
  const { valid, findings, previous_ends_at } = await api.post<SignatureCheck>("verify", {
    endpoint,
    body: Buffer.from(body).toString("base64"),
    body_encoding: "base64",
    headers: {
      ...(signature === undefined ? {} : { "X-BookMe-Signature": signature }),
      ...(standard === undefined ? {} : {
        "webhook-id": standard.id,
        "webhook-timestamp": standard.timestamp,
        "webhook-signature": standard.signature,
      }),
    },
  });
  for (const finding of findings) tell(io, finding.header, finding);
  if (previous_ends_at !== null && findings.some(({ secret }) => secret === "previous")) {
    io.out(`  The previous secret ends at ${previous_ends_at}`);
  }
  return valid ? 0 : 1;
}

// Whoever copies the whole line means its value.
function headerValue(text: string | undefined): string | undefined {
  return text?.replace(/^(x-bookme-signature|webhook-(id|timestamp|signature)):/i, "").trim();
}

function tell(io: Io, name: string, { valid, text }: Pick<Finding, "valid" | "text">): void {
  const { green, red } = paletteOf(io);
  io.out(`${valid ? green("✓") : red("✗")} ${name}: ${text}`);
}
