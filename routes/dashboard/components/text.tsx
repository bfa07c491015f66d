import type { Child } from "hono/jsx";

/** Anything that can stand in a page. Strings are text, never markup. */
export type Content = Child;

/** A bounded count: `1,000+` if that many were counted and no further. */
export function Count({ value, exact = true }: {
  readonly value: number;
  readonly exact?: boolean;
}) {
  return <>{value.toLocaleString("en-GB") + (exact ? "" : "+")}</>;
}

/** An address. If it is too long for its line, it breaks after a slash, dot, `?`, `&`, `=` or hyphen first. */
export function Url({ text }: { readonly text: string }) {
  const [first = "", ...parts] = text.split(/(?<=[/.?&=-])(?=[^/.?&=-])/);
  return (
    <>
      {first}
      {parts.map((part) => (
        <>
          <wbr />
          {part}
        </>
      ))}
    </>
  );
}

/** Text exactly as it is, in a box of its own. Give it an `id` for `CopyFrom`. */
export function Code({ text, id }: { readonly text: string; readonly id?: string }) {
  return <pre class="code" id={id} tabindex={0}>{text}</pre>;
}

/** Copies a text, such as an id. Where the clipboard is out of reach, it selects the text instead. */
export function Copy({ text, what }: { readonly text: string; readonly what: string }) {
  return (
    <button type="button" class="linklike js" data-copy={text} aria-label={`Copy ${what}`}>
      Copy
    </button>
  );
}

/** Copies what the element with this id shows. */
export function CopyFrom(
  { id, label = "Copy", what }: {
    readonly id: string;
    readonly label?: string;
    readonly what?: string;
  },
) {
  return (
    <button
      type="button"
      class="linklike js"
      data-copy-from={id}
      aria-label={what === undefined ? undefined : `${label} ${what}`}
    >
      {label}
    </button>
  );
}

/** An id and its copy button. */
export function Id({ text, what }: { readonly text: string; readonly what: string }) {
  return (
    <>
      <code class="id">{text}</code> <Copy text={text} what={what} />
    </>
  );
}

/** A value that is shown this once, such as a new secret: a read-only field with its copy button. */
export function Once(
  { label, value, note = "Shown this once. Store it at the receiver now." }: {
    readonly label: string;
    readonly value: string;
    readonly note?: string;
  },
) {
  return (
    <div class="field once">
      <label for="once-value">{label}</label>
      <div>
        <input class="mono" id="once-value" value={value} readonly aria-describedby="once-note" />
        <p class="note" id="once-note">
          {note} <CopyFrom id="once-value" what={label} />
        </p>
      </div>
    </div>
  );
}
