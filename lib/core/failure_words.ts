/** A failed attempt, as far as words need it. */
export interface FailedWith {
  readonly outcome: string;
  readonly status: number | null;
  /** The raw cause; null if it is unknown. */
  readonly cause: string | null;
}

/** What a receiver does instead of accepting: `it answers 401`. */
export function insteadOf(failure: FailedWith | null): string {
  if (failure === null) return "every attempt fails";
  const { outcome, status } = failure;
  switch (outcome) {
    case "http_4xx":
    case "http_5xx":
      return `it answers ${status ?? outcome}`;
    case "gone":
      return "it answers 410 Gone";
    case "redirect":
      return `it redirects (${status ?? "3xx"})`;
    case "timeout":
      return "it answers too slowly";
    case "dns":
      return "its name does not resolve";
    case "tls":
      return "the TLS handshake fails";
    case "connection":
      return connectionWords(failure);
    case "protocol":
      return "it does not speak HTTP";
    case "blocked":
      return "its address is not allowed";
    case "interrupted":
      return "its attempts were cut off";
    default:
      return "every attempt fails";
  }
}

function connectionWords({ cause }: FailedWith): string {
  if (cause === null) return "connecting to it fails";
  if (/ECONNREFUSED/.test(cause)) return "it refuses connections";
  if (/E(HOST|NET)UNREACH/.test(cause)) return "it cannot be reached";
  return "it closes the connection";
}
