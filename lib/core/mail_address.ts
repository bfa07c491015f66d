/** An address of RFC 5322 without the parts that nobody uses, and that could end a header. */
const ADDRESS = /^[^\s@<>()[\]\\,;:"\p{Cc}]{1,64}@[^\s@<>()[\]\\,;:"\p{Cc}]{1,253}$/u;

/** What a mail address must be, for messages. */
export const MAIL_ADDRESS_RULE = "Must be a mail address such as ops@example.com";

/** Whether mail can be sent to this text as it stands. */
export function isMailAddress(text: string): boolean {
  return ADDRESS.test(text);
}
