import type { Content } from "./text.tsx";

/**
 * A part of a page under its title. With `live`, what changes in it is swapped in (`swap`), or new rows of its
 * list are counted in a band until the reader asks for them (`list`); it needs an `id` then.
 */
export function Section({ title, aside, id, live, children }: {
  readonly title?: Content;
  readonly aside?: Content;
  readonly id?: string;
  readonly live?: "swap" | "list";
  readonly children?: Content;
}) {
  return (
    <section id={id} data-live={live}>
      {title === undefined ? null : (
        <header>
          <h2>{title}</h2>
          {aside === undefined || aside === null ? null : <div class="aside">{aside}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

/**
 * Columns: a narrow first one (`aside`), two alike (`halves`), or three (`thirds`). One below the other where there is
 * no room.
 */
export function Split({ kind, children }: {
  readonly kind: "aside" | "halves" | "thirds";
  readonly children: Content;
}) {
  return <div class={`split ${kind === "aside" ? "rail" : kind}`}>{children}</div>;
}

/** A row of figures, each with its label and a note. */
export function Figures({ items, id, live }: {
  readonly items: readonly {
    readonly label: Content;
    readonly value: Content;
    readonly note?: Content;
  }[];
  readonly id?: string;
  readonly live?: "swap";
}) {
  return (
    <dl class="figures" id={id} data-live={live}>
      {items.map(({ label, value, note }) => (
        <div>
          <dt>{label}</dt>
          <dd class="value">{value}</dd>
          {note === undefined || note === null ? null : <dd class="note">{note}</dd>}
        </div>
      ))}
    </dl>
  );
}

/** Labels on the left, values on the right; `wide` for labels such as names of headers. */
export function Facts({ items, wide = false }: {
  readonly items: readonly (readonly [Content, Content])[];
  readonly wide?: boolean;
}) {
  return (
    <dl class={wide ? "facts broad" : "facts"}>
      {items.map(([label, value]) => (
        <div>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Short paragraphs under each other, each with a bold start and a note, such as changes. */
export function Notes({ items }: {
  readonly items: readonly { readonly text: Content; readonly note?: Content }[];
}) {
  return (
    <ul class="notes">
      {items.map(({ text, note }) => (
        <li>
          <div>{text}</div>
          {note === undefined || note === null ? null : <p class="note">{note}</p>}
        </li>
      ))}
    </ul>
  );
}

/** Why something is empty, and the way out. */
export function Empty({ cause, children }: {
  readonly cause: Content;
  readonly children?: Content;
}) {
  return (
    <div class="empty">
      <strong>{cause}</strong>
      {children === undefined ? null : <p class="note">{children}</p>}
    </div>
  );
}

/** The result of the form before this page. */
export function Notice({ tone = "calm", children }: {
  readonly tone?: "calm" | "failing" | "waiting";
  readonly children: Content;
}) {
  return <div class={`notice ${tone}`} role="status">{children}</div>;
}

/** A destructive action at the end of a page: its consequence, and a form that asks for the typed name. */
export function Danger({ title, children }: {
  readonly title: Content;
  readonly children: Content;
}) {
  return (
    <section class="danger">
      <header>
        <h2>{title}</h2>
      </header>
      {children}
    </section>
  );
}

/** Details that are folded until the reader opens them. */
export function Fold({ label, open = false, children }: {
  readonly label: Content;
  readonly open?: boolean;
  readonly children: Content;
}) {
  return (
    <details class="fold" open={open}>
      <summary>{label}</summary>
      {children}
    </details>
  );
}
