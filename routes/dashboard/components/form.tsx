import { randomBytes } from "node:crypto";
import type { FormState } from "../forms.ts";
import type { Visit } from "../visit.ts";
import type { Content } from "./text.tsx";

/** A form that posts. `once` marks this rendering of it: sent twice, it acts once. */
export function Form({ visit, action, once, inline = false, id, children }: {
  readonly visit: Visit;
  readonly action: string;
  /** Made up by default. */
  readonly once?: string;
  /** Among other buttons of a row. */
  readonly inline?: boolean;
  readonly id?: string;
  readonly children: Content;
}) {
  return (
    <form method="post" action={action} class={inline ? "inline" : "stack"} id={id}>
      <input type="hidden" name="csrf" value={visit.csrf} />
      <input type="hidden" name="once" value={once ?? randomBytes(16).toString("base64url")} />
      {children}
    </form>
  );
}

/** A form that changes nothing: its fields go into the address. `wide` stacks labelled fields. */
export function Filter({ action, wide = false, children }: {
  readonly action: string;
  readonly wide?: boolean;
  readonly children: Content;
}) {
  return <form method="get" action={action} class={wide ? "stack" : "filter"}>{children}</form>;
}

/** Props of every field. */
export interface FieldProps {
  readonly name: string;
  readonly label: Content;
  readonly note?: Content;
  readonly error?: string | undefined;
  /** By default `f-` and its name: needed where two forms of a page have a field of the same name. */
  readonly id?: string;
}

/** Label on the left, the field on the right, under it the error and the note. */
function Field(
  { name, label, note, error, id = `f-${name}`, children }: FieldProps & {
    readonly children: Content;
  },
) {
  return (
    <div class={error === undefined ? "field" : "field wrong"}>
      <label for={id}>{label}</label>
      <div>
        {children}
        <Remarks id={id} note={note} error={error} />
      </div>
    </div>
  );
}

function Remarks(
  { id, note, error }: {
    readonly id: string;
    readonly note: Content;
    readonly error: string | undefined;
  },
) {
  return (
    <>
      {error === undefined ? null : <p class="error" id={`${id}-error`}>{error}</p>}
      {note === undefined || note === null ? null : <p class="note" id={`${id}-note`}>{note}</p>}
    </>
  );
}

/** The attributes that lead from a field to its error and note. */
function described({ name, note, error, id = `f-${name}` }: FieldProps) {
  const ids = [
    ...(error === undefined ? [] : [`${id}-error`]),
    ...(note === undefined || note === null ? [] : [`${id}-note`]),
  ];
  return {
    id,
    name,
    "aria-describedby": ids.length === 0 ? undefined : ids.join(" "),
    "aria-invalid": error === undefined ? undefined : "true" as const,
  };
}

/** A field of one line. */
export function TextField(
  {
    value,
    mono = false,
    narrow = false,
    readonly = false,
    type = "text",
    placeholder,
    required = false,
    autocomplete = "off",
    ...field
  }: FieldProps & {
    readonly value: string;
    readonly mono?: boolean;
    readonly narrow?: boolean;
    readonly readonly?: boolean;
    readonly type?: "text" | "password" | "url" | "number" | "datetime-local";
    readonly placeholder?: string;
    readonly required?: boolean;
    readonly autocomplete?: string;
  },
) {
  return (
    <Field {...field}>
      <input
        {...described(field)}
        class={[mono ? "mono" : "", narrow ? "narrow" : ""].join(" ").trim() || undefined}
        type={type}
        value={value}
        placeholder={placeholder}
        readonly={readonly}
        required={required}
        autocomplete={autocomplete}
        spellcheck={false}
      />
    </Field>
  );
}

/** A field of several lines. */
export function AreaField(
  { value, rows = 5, mono = true, readonly = false, placeholder, ...field }: FieldProps & {
    readonly value: string;
    readonly rows?: number;
    readonly mono?: boolean;
    readonly readonly?: boolean;
    readonly placeholder?: string;
  },
) {
  return (
    <Field {...field}>
      {/* A browser drops the first line break of the content: this one. */}
      <textarea
        {...described(field)}
        class={mono ? "mono" : undefined}
        rows={rows}
        readonly={readonly}
        placeholder={placeholder}
        spellcheck={false}
      >
        {"\n" + value}
      </textarea>
    </Field>
  );
}

/** An option of a choice: what is posted, and what is shown. */
export interface Option {
  readonly value: string;
  readonly label?: Content;
}

/** Checkboxes of one name. */
export function CheckFields(
  { options, values, readonly = false, ...field }: FieldProps & {
    readonly options: readonly Option[];
    readonly values: readonly string[];
    readonly readonly?: boolean;
  },
) {
  const { name, label, note, error, id = `f-${name}` } = field;
  const { "aria-describedby": described_by } = described(field);
  return (
    <fieldset
      class={error === undefined ? "field" : "field wrong"}
      id={id}
      aria-describedby={described_by}
    >
      <legend>{label}</legend>
      <div>
        <div class={options.length > 1 ? "checks" : undefined}>
          {options.map((option) => (
            <label class="check">
              <input
                type="checkbox"
                name={name}
                value={option.value}
                checked={values.includes(option.value)}
                disabled={readonly}
              />
              <span>{option.label ?? option.value}</span>
            </label>
          ))}
        </div>
        <Remarks id={id} note={note} error={error} />
      </div>
    </fieldset>
  );
}

/** One of several. */
export function SelectField(
  { options, value, ...field }: FieldProps & {
    readonly options: readonly Option[];
    readonly value: string;
  },
) {
  return (
    <Field {...field}>
      <Select {...described(field)} options={options} value={value} />
    </Field>
  );
}

/** The choice alone, for a row of them; it needs a label of its own, or `label`. */
export function Select(
  { options, value, label, ...attributes }: {
    readonly name: string;
    readonly id?: string;
    readonly options: readonly Option[];
    readonly value: string;
    readonly label?: string;
    readonly "aria-describedby"?: string | undefined;
    readonly "aria-invalid"?: "true" | undefined;
  },
) {
  return (
    <select {...attributes} aria-label={label}>
      {options.map((option) => (
        <option value={option.value} selected={option.value === value}>
          {option.label ?? option.value}
        </option>
      ))}
    </select>
  );
}

/** A row of a form without a field of its own, such as its buttons. */
export function FormRow({ label, children }: {
  readonly label?: Content;
  readonly children: Content;
}) {
  return (
    <div class="field row">
      <div class="label">{label}</div>
      <div>{children}</div>
    </div>
  );
}

/** Why a form was refused, as far as no field says it. */
export function FormMessage({ state }: { readonly state: FormState }) {
  const { message, errors } = state;
  if (message === null && errors.size === 0) return null;
  const fields = errors.size === 1
    ? "One field needs a change"
    : `${errors.size} fields need a change`;
  return (
    <div class="notice failing" role="alert">
      {message ?? `Nothing was changed. ${fields}, marked below.`}
    </div>
  );
}
