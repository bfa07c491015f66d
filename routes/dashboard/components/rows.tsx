import type { Content } from "./text.tsx";

/** Where a cell goes on a phone, where each row is a card. */
export type PhoneRole = "state" | "under" | "subject" | "kind" | "reason" | "time" | "hide";

/** A column of `Rows`. */
export interface Column<T> {
  readonly name: string;
  readonly label: Content;
  cell(row: T): Content;
  readonly align?: "right";
  /** `subject` of the first column by default, else `hide`. */
  readonly phone?: PhoneRole;
  /** After the value on a phone, where the head of the column is missing: `waiting`. */
  readonly unit?: string;
  /** Whether a card leaves it out, as it says nothing: `0 waiting`. */
  none?(row: T): boolean;
  /** Its text may wrap. */
  readonly wrap?: boolean;
}

/**
 * A table whose rows are one link each; cards on a phone. `href` null: that row leads nowhere. `id` names a row in
 * the page, so that a live list knows it again.
 */
export function Rows<T>({ columns, rows, href, id, empty = null, label, link }: {
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  href?(row: T): string | null;
  id?(row: T): string;
  readonly empty?: Content;
  /** Of the table, for screen readers. */
  readonly label?: string;
  /** The column whose content is the link: the one with the role `subject`, else the first. */
  readonly link?: string;
}) {
  if (rows.length === 0) return <>{empty}</>;
  const linked = link ?? (columns.find(({ phone }) => phone === "subject") ?? columns[0])?.name;
  return (
    <table class="rows" aria-label={label}>
      <thead>
        <tr>
          {columns.map((column, index) => (
            <th scope="col" class={classOf(column, index)}>{column.label}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => {
          const target = href?.(row) ?? null;
          return (
            <tr id={id === undefined ? undefined : `row-${id(row)}`}>
              {columns.map((column, index) => (
                <td class={classOf(column, index) + (column.none?.(row) ? " none" : "")}>
                  {target !== null && column.name === linked
                    ? <a class="row" href={target}>{column.cell(row)}</a>
                    : column.cell(row)}
                  {column.unit === undefined ? null : <span class="unit">{` ${column.unit}`}</span>}
                </td>
              ))}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function classOf<T>({ align, phone, wrap }: Column<T>, index: number): string {
  return [
    `p-${phone ?? (index === 0 ? "subject" : "hide")}`,
    ...(align === "right" ? ["right"] : []),
    ...(wrap || phone === "reason" ? ["wrap"] : []),
  ].join(" ");
}

/** Bold first, then what it is: `BK4T8Q1Z booking.created`. With `under`, the rest is on a line of its own. */
export function Name({ name, rest, under }: {
  readonly name: Content;
  readonly rest?: Content;
  readonly under?: Content;
}) {
  return (
    <>
      <strong>{name}</strong>
      {rest === undefined || rest === null ? null : <span class="rest">{" "}{rest}</span>}
      {under === undefined || under === null ? null : <span class="second">{under}</span>}
    </>
  );
}

/** An event type; where there is little room, its family is left out. */
export function TypeName({ type }: { readonly type: string }) {
  const dot = type.indexOf(".");
  return (
    <>
      {dot < 0 ? null : <span class="wide">{type.slice(0, dot + 1)}</span>}
      {type.slice(dot + 1)}
    </>
  );
}

/** Presets of a list, with how many each has. */
export function Tabs({ items, label = "Presets" }: {
  readonly items: readonly {
    readonly label: Content;
    readonly href: string;
    readonly count?: Content;
    readonly current: boolean;
  }[];
  readonly label?: string;
}) {
  return (
    <nav class="tabs" aria-label={label}>
      {items.map(({ label, href, count, current }) => (
        <a href={href} aria-current={current ? "page" : undefined}>
          {label}
          {count === undefined || count === null ? null : <span class="count">{" "}{count}</span>}
        </a>
      ))}
    </nav>
  );
}

/** Filters in force, each of which can be removed. */
export function Chips({ items, children }: {
  readonly items: readonly {
    readonly name: string;
    readonly value: string;
    readonly remove_href: string;
  }[];
  /** Links after them: add one, clear all. */
  readonly children?: Content;
}) {
  return (
    <div class="chips">
      {items.map(({ name, value, remove_href }) => (
        <span class="chip">
          <span class="name">{name}</span> {value}
          <a href={remove_href} aria-label={`Remove ${name} ${value}`}>×</a>
        </span>
      ))}
      {children}
    </div>
  );
}

/** What a page of a list shows, and the way to older ones. */
export function Pager({ older_href = null, newest_href = null, note }: {
  readonly older_href?: string | null;
  /** Back to the first page, from a later one. */
  readonly newest_href?: string | null;
  readonly note?: Content;
}) {
  return (
    <nav class="pager" aria-label="Pages">
      <span class="note">{note}</span>
      <span class="actions">
        {newest_href === null ? null : <a class="button plain" href={newest_href}>Newest</a>}
        {older_href === null ? null : <a class="button plain" href={older_href}>Older</a>}
      </span>
    </nav>
  );
}
