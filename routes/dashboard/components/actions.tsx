import type { Visit } from "../visit.ts";
import { Form } from "./form.tsx";
import type { Content } from "./text.tsx";

/** How a button looks: one `primary` a page, the action most likely to help. */
export type ButtonKind = "primary" | "plain" | "danger";

/** A form of one button. Nothing for somebody who may only look. */
export function ActionButton({ visit, action, label, kind = "plain", fields = {} }: {
  readonly visit: Visit;
  readonly action: string;
  readonly label: Content;
  readonly kind?: ButtonKind;
  readonly fields?: Readonly<Record<string, string>>;
}) {
  if (!visit.may_write) return null;
  return (
    <Form visit={visit} action={action} inline>
      {Object.entries(fields).map(([name, value]) => (
        <input type="hidden" name={name} value={value} />
      ))}
      <Submit
        label={label}
        kind={kind}
        shortcut={/\/retry$/.test(action) ? "r" : undefined}
      />
    </Form>
  );
}

/** The button that sends its form. */
export function Submit({ label, kind = "primary", name, value, shortcut }: {
  readonly label: Content;
  readonly kind?: ButtonKind;
  /** With a name, which button it was is posted, too. */
  readonly name?: string;
  readonly value?: string;
  /** The key that presses it. */
  readonly shortcut?: string | undefined;
}) {
  return (
    <button class={`button ${kind}`} type="submit" name={name} value={value} data-key={shortcut}>
      {label}
    </button>
  );
}

/** A link that looks like a button. */
export function LinkButton({ href, label, kind = "plain" }: {
  readonly href: string;
  readonly label: Content;
  readonly kind?: ButtonKind;
}) {
  return <a class={`button ${kind}`} href={href}>{label}</a>;
}

/** Buttons next to each other. */
export function Actions({ children }: { readonly children: Content }) {
  return <div class="actions">{children}</div>;
}
