/** Sections with certificates and keys: `tls` of an endpoint and of the listener. */

import * as v from "valibot";
import { invalid } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { pairMistakes, plainPem, textMistakes, type TlsTexts } from "../core/tls_settings.ts";
import { asText, leaf, pathItem, table } from "./fields.ts";
import { readPem, type Surroundings } from "./references.ts";

/** `tls` of an endpoint: what it is trusted by, and what a client shows it. */
export function endpointTlsSchema(around: Surroundings) {
  return v.pipe(
    table({
      ca: v.optional(pem("ca", around)),
      cert: v.optional(pem("cert", around)),
      key: v.optional(key(around)),
    }),
    pair(),
  );
}

/** `server.tls`: what the listener shows. */
export function listenerTlsSchema(around: Surroundings) {
  return v.pipe(table({ cert: pem("cert", around), key: key(around) }), pair());
}

/** The PEM text of certificates, or of a key, that a reference names. */
export function pem(member: keyof TlsTexts, around: Surroundings) {
  return leaf("a PEM file: file:PATH or env:NAME", (value) => {
    const kind = member === "key" ? "PRIVATE KEY" : "CERTIFICATE";
    const text = readPem(asText(value), kind, around);
    const [mistake] = textMistakes({ [member]: text });
    if (mistake !== undefined) throw invalid(mistake.message);
    return plainPem(text, member);
  });
}

function key(around: Surroundings) {
  return v.pipe(pem("key", around), v.transform((text) => new Secret(text)));
}

/** Certificate and key belong together. */
function pair<Tls extends { cert?: string | undefined; key?: Secret | undefined }>() {
  return v.rawCheck<Tls>(({ dataset, addIssue }) => {
    // Only texts without mistakes of their own belong together.
    if (!dataset.typed) return;
    const { cert, key } = dataset.value;
    for (const { member, message } of pairMistakes({ cert, key: key?.reveal() })) {
      addIssue(
        member === null ? { message } : { message, path: [pathItem(dataset.value, member)] },
      );
    }
  });
}
