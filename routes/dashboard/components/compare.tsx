import { Fold } from "./section.tsx";
import { type Content, Url } from "./text.tsx";

/** A difference between two attempts. */
export interface Difference {
  readonly label: Content;
  readonly before: Content;
  readonly after: Content;
  /** Under the later value: who changed it, and when. */
  readonly note?: Content;
}

/** Only what differs, the later value marked; one line says what is the same. */
export function Compare({ rows, same, heads, choose }: {
  readonly rows: readonly Difference[];
  readonly same: Content;
  /** What stands on the left and on the right: `Thu 13:58:41, accepted`. */
  readonly heads?: readonly [Content, Content];
  /** A form to compare something else. */
  readonly choose?: Content;
}) {
  return (
    <div class="compare">
      {choose}
      {rows.length === 0 ? null : (
        <table>
          {heads === undefined ? null : (
            <thead>
              <tr>
                <td></td>
                <th scope="col">{heads[0]}</th>
                <th scope="col">{heads[1]}</th>
              </tr>
            </thead>
          )}
          <tbody>
            {rows.map(({ label, before, after, note }) => (
              <tr>
                <th scope="row">{label}</th>
                <td>{before}</td>
                <td>
                  <span class="changed">{after}</span>
                  {note === undefined || note === null ? null : <p class="note">{note}</p>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="note">{same}</p>
    </div>
  );
}

/** Members that a change touched, before and after. Null: there was none, or is none any more. */
export function Diff({ changes }: {
  readonly changes: readonly {
    readonly field: string;
    readonly before: string | null;
    readonly after: string | null;
  }[];
}) {
  const list = (
    <dl class="diff">
      {changes.map(({ field, before, after }) => (
        <div>
          <dt>{field}</dt>
          <dd>
            {before === null ? null : <del>{valueOf(before)}</del>}
            {before === null || after === null ? null : <span class="rest">{" → "}</span>}
            {after === null
              ? (before === null ? null : <span class="rest">{" removed"}</span>)
              : <ins>{valueOf(after)}</ins>}
          </dd>
        </div>
      ))}
    </dl>
  );
  // Where all is new or gone there is little to compare.
  const is_whole = changes.length > 3 &&
    changes.every(({ before, after }) => before === null || after === null);
  return is_whole ? <Fold label={`${changes.length} fields`}>{list}</Fold> : list;
}

function valueOf(text: string): Content {
  return /^https?:/.test(text) ? <Url text={text} /> : text;
}
