/**
 * The address of a PostgreSQL server, read as libpq reads it (PostgreSQL 18, "Connection Strings" and
 * "Parameter Key Words"). Mistakes name no value and no unknown key: any of them may be part of a
 * password whose special characters were not percent-encoded.
 */

import ipaddr from "ipaddr.js";
import { AppError } from "./errors.ts";
import { nearest } from "./nearest.ts";
import { Secret, textMistake } from "./secret.ts";

/** A PostgreSQL server that accepts writes, and how to connect to it. */
export interface DatabaseAddress {
  /** At least one, in the order in which to try them. The one that accepts writes is meant. */
  readonly hosts: readonly DatabaseHost[];
  readonly user: string;
  readonly password?: Secret;
  /** The database's name. */
  readonly name: string;
  readonly tls: DatabaseTls;
  /** Bound of connecting to one host; absent: the program's own. */
  readonly connect_timeout_ms?: number;
  readonly application_name?: string;
  /** Session settings by lower-case name, none of those that the program sets itself. */
  readonly options: Readonly<Record<string, string>>;
  /** TCP keepalives; without `idle_ms` the system's own. */
  readonly keepalive: { readonly enabled: boolean; readonly idle_ms?: number };
}

/** A TCP host, or the path of a Unix socket. TLS is never used on a socket. */
export type DatabaseHost =
  | {
    /** A name, or an IP address without brackets. The server's certificate must name it. */
    readonly host: string;
    readonly port: number;
    /** The IP address to connect to instead of looking up `host`. */
    readonly address?: string;
  }
  | {
    /** The socket's file, `/run/postgresql/.s.PGSQL.5432`. */
    readonly socket: string;
  };

/** The values of `sslmode`. */
export const TLS_MODES = [
  "disable",
  "allow",
  "prefer",
  "require",
  "verify-ca",
  "verify-full",
] as const;

/** TLS to the server. Texts are PEM. */
export interface DatabaseTls {
  /** `require` never comes with `ca`: libpq then means `verify-ca`. */
  readonly mode: (typeof TLS_MODES)[number];
  /** Trusted authorities; absent with `verify-full`: the system's. Always there with `verify-ca`. */
  readonly ca?: string;
  /** The client's certificate, always together with its key. */
  readonly cert?: string;
  readonly key?: Secret;
}

/** One mistake in an address. */
export interface AddressMistake {
  /** The parameter by libpq's name, if it is the mistake of one. */
  readonly parameter?: string;
  /** The environment variable that has the parameter's value. */
  readonly variable?: string;
  /** Index in the URL, in UTF-16 units, of a mistake in its form. */
  readonly at?: number;
  /** The mistake and its remedy, without any value. */
  readonly message: string;
}

/** The address, or everything that is wrong with it. */
export type AddressResult =
  | { readonly address: DatabaseAddress }
  | { readonly mistakes: readonly AddressMistake[] };

/** What an address takes from outside of its text. */
export interface AddressSources {
  /** The variable's value; asked for libpq's variables only. */
  readonly env: (name: string) => string | undefined;
  /** The PEM text of a file. Throws an `AppError` with the reason. */
  readonly read: (path: string, kind: "certificate" | "key") => string;
  /** Name of the user that runs the program: libpq's default. */
  readonly os_user: () => string | undefined;
}

/** Parameters of one connection by libpq's names. */
export type AddressParameters = Readonly<Record<string, string>>;

/**
 * Reads `postgres://user:password@host:port,host:port/name?parameter=value`. Where it is silent, libpq's
 * environment variables count, then libpq's defaults, except that the default host is localhost.
 */
export function parseDatabaseUrl(text: string, sources: AddressSources): AddressResult {
  try {
    const { given, unknown } = splitUrl(text);
    const result = resolveDatabaseAddress(given, sources);
    if (unknown.length === 0) return result;
    return { mistakes: [...unknown, ...("mistakes" in result ? result.mistakes : [])] };
  } catch (error) {
    if (error instanceof FormError) return { mistakes: [error.mistake] };
    throw error;
  }
}

/** Reads parameters that were given one by one; otherwise as `parseDatabaseUrl`. */
export function resolveDatabaseAddress(
  given: AddressParameters,
  sources: AddressSources,
): AddressResult {
  const mistakes: AddressMistake[] = [];
  refuseUnsupported(given, mistakes);
  const values = makeValues({ ...modeOfSsl(given, mistakes), ...given }, sources, mistakes);
  const hosts = readHosts(values);
  const user = values.text("user") ?? sources.os_user();
  const name = values.text("dbname") ?? user;
  if (user === undefined || name === undefined) {
    values.refuse("user", "Missing; name the user that connects");
  }
  refuseUnwritable(values);
  const tls = readTls(values, sources);
  const password = values.text("password");
  const connect_timeout_s = values.integer("connect_timeout");
  const application_name = values.text("application_name") ??
    values.text("fallback_application_name");
  const options = readOptions(values);
  const keepalive = readKeepalive(values);
  if (mistakes.length > 0 || user === undefined || name === undefined) return { mistakes };
  return {
    address: {
      hosts,
      user,
      name,
      tls,
      options,
      keepalive,
      ...(password === undefined ? {} : { password: new Secret(password) }),
      // libpq: zero and below mean no bound of its own.
      ...(connect_timeout_s === undefined || connect_timeout_s <= 0
        ? {}
        : { connect_timeout_ms: connect_timeout_s * 1000 }),
      ...(application_name === undefined ? {} : { application_name }),
    },
  };
}

/** A mistake in one line. */
export function formatAddressMistake({ parameter, variable, at, message }: AddressMistake): string {
  if (variable !== undefined) return `Environment variable ${variable}: ${message}`;
  if (at !== undefined) return `${message} (at character ${at + 1})`;
  return parameter === undefined ? message : `Parameter ${parameter}: ${message}`;
}

/** Whether a URL holds a password, or may hold one because it cannot be read. */
export function mayHavePassword(url: string): boolean {
  try {
    return splitUrl(url).given["password"] !== undefined;
  } catch (error) {
    if (error instanceof FormError) return true;
    throw error;
  }
}

/** Where the hosts are, for people: `a:5432,b:5432/name`. */
export function describeAddress({ hosts, name }: Pick<DatabaseAddress, "hosts" | "name">): string {
  const places = hosts.map((host) => {
    if ("socket" in host) return host.socket;
    return `${host.host.includes(":") ? `[${host.host}]` : host.host}:${host.port}`;
  });
  return `${places.join(",")}/${name}`;
}

// --- the URL's form ----------------------------------------------------------------------------------

class FormError extends Error {
  readonly mistake: AddressMistake;

  constructor(message: string, at?: number) {
    super(message);
    this.mistake = at === undefined ? { message } : { at, message };
  }
}

const ENCODE = "percent-encode it if it is part of the password or of a name";

/**
 * The parameters in a URL, as libpq's `conninfo_uri_parse_options` cuts it, and a mistake for each that
 * is unknown. Throws a `FormError` if it cannot be cut.
 */
function splitUrl(
  text: string,
): { readonly given: AddressParameters; readonly unknown: readonly AddressMistake[] } {
  const hidden = textMistake(text);
  if (hidden !== undefined) throw new FormError(hidden);
  const scheme = /^postgres(ql)?:\/\//.exec(text)?.[0];
  if (scheme === undefined) {
    throw new FormError("Must be a URL such as postgres://user:password@host:5432/database");
  }
  // libpq accepts these in some places; other programs cut the URL there.
  const raw = /[\s#]/u.exec(text);
  if (raw !== null) {
    throw raw[0] === "#"
      ? new FormError(`Has a raw #; ${ENCODE}: %23`, raw.index)
      : new FormError(`Has raw white space; ${ENCODE}: %20`, raw.index);
  }
  const given: Record<string, string> = {};
  const put = (name: string, from: number, to: number) => {
    const value = decodePart(text, from, to);
    if (value !== "") given[name] = value;
  };
  const start = scheme.length;
  const sign = find(text, "@/", start);
  const has_user = text[sign] === "@";
  if (has_user) {
    const colon = find(text, ":", start, sign);
    put("user", start, colon);
    put("password", colon + 1, sign);
  }
  const authority = has_user ? sign + 1 : start;
  const path = find(text, "/?", authority);
  const query = find(text, "?", path);
  refuseRawSigns(text, start, authority, query);
  putHosts(text, authority, path, given);
  if (text[path] === "/") put("dbname", path + 1, query);
  return { given, unknown: putQuery(text, query + 1, given) };
}

/** Index of the first of `signs` from `from` on, or `to`. */
function find(text: string, signs: string, from: number, to = text.length): number {
  for (let at = from; at < to; at++) if (signs.includes(text[at] ?? "")) return at;
  return to;
}

// A password with these cuts the URL in the wrong place.
function refuseRawSigns(text: string, start: number, authority: number, query: number): void {
  const question = find(text, "?", start, authority);
  if (question < authority) {
    throw new FormError(`Has a raw ? before the @; ${ENCODE}: %3F`, question);
  }
  const sign = find(text, "@", authority, query);
  if (sign < query) {
    throw text.slice(start, sign).includes("/")
      ? new FormError(`Has a raw / or @ before the host; ${ENCODE}: %2F, %40`, sign)
      : new FormError(`Has more than one @; ${ENCODE}: %40`, sign);
  }
}

function putHosts(text: string, from: number, to: number, given: Record<string, string>): void {
  const hosts: string[] = [];
  const ports: string[] = [];
  for (let at = from; at <= to;) {
    const bracket = text[at] === "[" ? find(text, "]", at, to) : at;
    if (bracket === to && at < to) throw new FormError("Has a [ without its ]", at);
    const end = find(text, ",", bracket, to);
    const colon = find(text, ":", bracket, end);
    if (bracket > at && colon > bracket + 1) {
      throw new FormError("Must have a colon and the port, or nothing, after the ]", bracket + 1);
    }
    hosts.push(decodePart(text, at, colon));
    ports.push(decodePart(text, colon + 1, end));
    at = end + 1;
  }
  if (hosts.some((host) => host !== "")) given["host"] = hosts.join(",");
  if (ports.some((port) => port !== "")) given["port"] = ports.join(",");
}

function putQuery(
  text: string,
  from: number,
  given: Record<string, string>,
): readonly AddressMistake[] {
  const unknown: AddressMistake[] = [];
  for (let at = from; at < text.length;) {
    const end = find(text, "&", at);
    const equals = find(text, "=", at, end);
    if (at < end) {
      if (equals === end) {
        throw new FormError("Has a parameter without a value; write name=value", at);
      }
      const second = find(text, "=", equals + 1, end);
      if (second < end) {
        throw new FormError(`Has a second = in a parameter; write it as %3D`, second);
      }
      const name = decodePart(text, at, equals);
      const value = decodePart(text, equals + 1, end);
      if (!isKnown(name)) unknown.push({ at, message: unknownParameter(name) });
      else if (value !== "") given[name] = value;
    }
    at = end + 1;
  }
  return unknown;
}

function decodePart(text: string, from: number, to: number): string {
  if (from >= to) return "";
  const part = text.slice(from, to);
  const wrong = /%(?![0-9A-Fa-f]{2})|%00/.exec(part);
  if (wrong === null) {
    try {
      return decodeURIComponent(part);
    } catch {
      throw new FormError(
        "Has percent-encoded bytes that are not UTF-8; write a raw % as %25",
        from,
      );
    }
  }
  const at = from + wrong.index;
  throw wrong[0] === "%00"
    ? new FormError("Has a zero byte (%00), which PostgreSQL cannot take", at)
    : new FormError("Has a raw %; percent-encode it: %25", at);
}

// --- parameters --------------------------------------------------------------------------------------

/** libpq's variables that count where the address is silent. No other variable does. */
const VARIABLES: ReadonlyMap<string, string> = new Map(Object.entries({
  host: "PGHOST",
  port: "PGPORT",
  user: "PGUSER",
  password: "PGPASSWORD",
  dbname: "PGDATABASE",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  connect_timeout: "PGCONNECT_TIMEOUT",
  application_name: "PGAPPNAME",
  options: "PGOPTIONS",
  target_session_attrs: "PGTARGETSESSIONATTRS",
  channel_binding: "PGCHANNELBINDING",
}));

const FLAG = ["0", "1"];

/**
 * Parameters with the values that change nothing here, and why no other one can be honoured. Names that
 * are neither here, nor in `REFUSED`, nor read below are unknown.
 */
const FIXED: Readonly<Record<string, { readonly takes: readonly string[]; readonly why: string }>> =
  {
    channel_binding: {
      takes: ["disable", "prefer"],
      why: "Channel binding is not supported; remove it, and use sslmode=verify-full instead",
    },
    gssencmode: {
      takes: ["disable", "prefer"],
      why: "GSSAPI is not supported; remove it, and use TLS (sslmode=verify-full) instead",
    },
    sslnegotiation: {
      takes: ["postgres"],
      why: "Only the negotiation postgres is supported; remove it",
    },
    sslcompression: { takes: FLAG, why: "Must be 0 or 1" },
    sslsni: { takes: ["1"], why: "TLS always names the server; remove it" },
    sslcertmode: {
      takes: ["allow"],
      why: "Only allow is supported; leave sslcert away to send no certificate",
    },
    ssl_min_protocol_version: {
      takes: ["TLSv1", "TLSv1.1", "TLSv1.2"],
      why: "TLS is always 1.2 or 1.3; write TLSv1.2, or demand 1.3 with the server's own setting",
    },
    ssl_max_protocol_version: { takes: ["TLSv1.3"], why: "TLS may always be 1.3; remove it" },
    min_protocol_version: { takes: ["3.0"], why: "Only protocol 3.0 is spoken; remove it" },
    max_protocol_version: { takes: ["3.0", "3.2", "latest"], why: "Must be 3.0, 3.2 or latest" },
    // One host accepts writes, so the order changes nothing.
    load_balance_hosts: { takes: ["disable", "random"], why: "Must be disable or random" },
    replication: {
      takes: ["false", "off", "no", "0"],
      why: "Replication connections run no statements; remove it",
    },
    // Prisma's. Session pooling needs nothing; transaction pooling is refused when connecting.
    pgbouncer: { takes: ["true", "false"], why: "Must be true or false" },
  };

const KERBEROS = "GSSAPI is not supported; use a password or a client certificate instead";
const CRL = "Revocation lists are not supported; remove it";

/** Parameters of libpq that cannot be honoured, and the remedy. */
const REFUSED: ReadonlyMap<string, string> = new Map(Object.entries({
  passfile: "Password files are not read; give the password here or in PGPASSWORD",
  service: "Service files are not read; give the service's parameters here",
  servicefile: "Service files are not read; give the service's parameters here",
  require_auth: "The way to authenticate is the server's choice; remove it",
  requiressl: "No longer supported; write sslmode=require",
  sslpassword: "Encrypted keys are not supported; decrypt the key's file, with mode 0600",
  sslcrl: CRL,
  sslcrldir: CRL,
  sslkeylogfile: "Not supported; remove it",
  requirepeer: "The socket's owner is not checked; use a directory that only the server may write",
  krbsrvname: KERBEROS,
  gsslib: KERBEROS,
  gssdelegation: KERBEROS,
  scram_client_key: "Not supported; give the password",
  scram_server_key: "Not supported; give the password",
  oauth_issuer: "OAuth is not supported; use a password or a client certificate instead",
  oauth_client_id: "OAuth is not supported; use a password or a client certificate instead",
  oauth_client_secret: "OAuth is not supported; use a password or a client certificate instead",
  oauth_scope: "OAuth is not supported; use a password or a client certificate instead",
}));

const READ = [
  ...VARIABLES.keys(),
  "hostaddr",
  "ssl",
  "client_encoding",
  "fallback_application_name",
  "keepalives",
  "keepalives_idle",
  "keepalives_interval",
  "keepalives_count",
  "tcp_user_timeout",
];

const KNOWN: readonly string[] = [
  ...new Set([...READ, ...Object.keys(FIXED), ...REFUSED.keys()]),
];

function isKnown(name: string): boolean {
  return KNOWN.includes(name);
}

// Without the name: it may be the end of a password with a raw & in it.
function unknownParameter(name: string): string {
  const near = name.length > 40 ? undefined : nearest(name, KNOWN);
  return near === undefined
    ? "Unknown parameter; remove it, or percent-encode the ? or & before it as %3F or %26"
    : `Unknown parameter; did you mean ${near}?`;
}

/** Parameters with their variables behind them. */
interface Values {
  text(parameter: string): string | undefined;
  /** An integer of at most nine digits. */
  integer(parameter: string): number | undefined;
  /** Reports a mistake of a parameter, naming the variable if that is where its value is from. */
  refuse(parameter: string, message: string): void;
}

function makeValues(
  given: AddressParameters,
  { env }: AddressSources,
  mistakes: AddressMistake[],
): Values {
  const variableOf = (parameter: string) => {
    const name = VARIABLES.get(parameter);
    return name === undefined || (given[parameter] ?? "") !== "" ? undefined : name;
  };
  const refuse = (parameter: string, message: string) => {
    const variable = variableOf(parameter);
    const is_from_variable = variable !== undefined && (env(variable) ?? "") !== "";
    mistakes.push(is_from_variable ? { parameter, variable, message } : { parameter, message });
  };
  const text = (parameter: string) => {
    const variable = variableOf(parameter);
    const value = variable === undefined ? given[parameter] : env(variable);
    return value === "" ? undefined : value;
  };
  const integer = (parameter: string) => {
    const value = text(parameter);
    if (value === undefined) return undefined;
    if (/^\s*[+-]?\d{1,9}\s*$/.test(value)) return Number(value);
    refuse(parameter, "Must be an integer");
    return undefined;
  };
  return { text, integer, refuse };
}

function refuseUnsupported(given: AddressParameters, mistakes: AddressMistake[]): void {
  for (const [parameter, value] of Object.entries(given)) {
    const refused = REFUSED.get(parameter);
    if (refused !== undefined) mistakes.push({ parameter, message: refused });
    else if (value.includes("\0")) {
      mistakes.push({ parameter, message: "Has a zero byte, which PostgreSQL cannot take" });
    }
  }
}

/** Refuses values that no daemon can work with. */
function refuseUnwritable(values: Values): void {
  for (const [parameter, { takes, why }] of Object.entries(FIXED)) {
    const value = values.text(parameter);
    if (value !== undefined && !takes.includes(value)) values.refuse(parameter, why);
  }
  const wanted = values.text("target_session_attrs");
  if (wanted !== undefined && !["any", "read-write", "primary"].includes(wanted)) {
    values.refuse(
      "target_session_attrs",
      "The daemon writes, so it needs a primary; write read-write, or remove it",
    );
  }
  const encoding = values.text("client_encoding");
  if (encoding !== undefined && !/^(utf-?8|unicode)$/i.test(encoding)) {
    values.refuse("client_encoding", "Only UTF8 is supported; remove it");
  }
}

// --- hosts -------------------------------------------------------------------------------------------

const DEFAULT_PORT = 5432;

/** Longest path of a socket that Linux takes, in bytes. */
const MAX_SOCKET_PATH = 107;

function readHosts(values: Values): readonly DatabaseHost[] {
  const entries = (parameter: string) => values.text(parameter)?.split(",") ?? [];
  const hosts = entries("host");
  const addresses = entries("hostaddr");
  const ports = entries("port").map((text) => readPort(text, values));
  const count = Math.max(hosts.length, addresses.length, 1);
  if (addresses.length > 0 && hosts.length > 0 && addresses.length !== hosts.length) {
    values.refuse("hostaddr", `Must have as many entries as host: ${hosts.length}`);
  }
  if (ports.length > 1 && ports.length !== count) {
    values.refuse(
      "port",
      `Must have one port for all hosts or as many ports as hosts: ${count}, not ${ports.length}`,
    );
  }
  return Array.from({ length: count }, (_, index): DatabaseHost => {
    const port = ports[ports.length === 1 ? 0 : index] ?? DEFAULT_PORT;
    const address = addresses[index] ?? "";
    return readHost(hosts[index] ?? "", address, port, values);
  });
}

function readHost(text: string, address: string, port: number, values: Values): DatabaseHost {
  if (text.startsWith("/")) {
    const socket = `${text.replace(/\/+$/, "")}/.s.PGSQL.${port}`;
    if (new TextEncoder().encode(socket).length > MAX_SOCKET_PATH) {
      values.refuse("host", `The socket's path has more than ${MAX_SOCKET_PATH} bytes`);
    }
    return { socket };
  }
  const host = (/^\[(.*)\]$/.exec(text)?.[1] ?? text) || address || "localhost";
  const mistake = hostMistake(host);
  if (mistake !== undefined) values.refuse("host", mistake);
  if (address === "") return { host, port };
  if (!ipaddr.isValid(address)) {
    values.refuse("hostaddr", "Must be an IP address; use host for names");
  }
  return { host, port, address };
}

function hostMistake(host: string): string | undefined {
  if (host.startsWith("@")) return "Abstract sockets are not supported; use a directory's path";
  if (host.includes(":")) {
    return ipaddr.IPv6.isValid(host)
      ? undefined
      : "Must be a name, an IP address (IPv6 in brackets in a URL) or a socket's directory";
  }
  return host.length <= 253 && /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(host)
    ? undefined
    : "Must be a name, an IP address, or the absolute path of a socket's directory";
}

function readPort(text: string, values: Values): number {
  if (text.trim() === "") return DEFAULT_PORT;
  const port = /^\s*\d{1,5}\s*$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) {
    values.refuse(
      "port",
      "Must be a number from 1 to 65535; percent-encode a /, : or @ in the user's name or password",
    );
  }
  return port;
}

// --- TLS, options, keepalives ------------------------------------------------------------------------

function readTls(values: Values, { read }: AddressSources): DatabaseTls {
  const root = values.text("sslrootcert");
  const asked = readMode(values, root === "system" ? "verify-full" : "prefer");
  const file = (parameter: string, kind: "certificate" | "key") => {
    const path = values.text(parameter);
    if (path === undefined || (parameter === "sslrootcert" && path === "system")) return undefined;
    try {
      return read(path, kind);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      values.refuse(parameter, error.message);
      return undefined;
    }
  };
  const ca = file("sslrootcert", "certificate");
  const cert = file("sslcert", "certificate");
  const key = file("sslkey", "key");
  for (const [one, other] of [["sslcert", "sslkey"], ["sslkey", "sslcert"]] as const) {
    if (values.text(one) !== undefined && values.text(other) === undefined) {
      values.refuse(one, "Must have certificate and key together, or neither");
    }
  }
  if (root === "system" && asked !== "verify-full") {
    values.refuse(
      "sslmode",
      "Must be verify-full with the system's authorities: anybody can get a " +
        "certificate from one of them for another name",
    );
  }
  if (root === undefined && asked === "verify-ca") {
    values.refuse(
      "sslmode",
      "verify-ca needs the authority's certificate (sslrootcert, or tls.ca); " +
        "write verify-full to trust the system's authorities",
    );
  }
  return {
    mode: asked === "require" && ca !== undefined ? "verify-ca" : asked,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key: new Secret(key) }),
  };
}

function readMode(values: Values, fallback: DatabaseTls["mode"]): DatabaseTls["mode"] {
  const text = values.text("sslmode") ?? fallback;
  const found = TLS_MODES.find((mode) => mode === text);
  if (found === undefined) {
    values.refuse("sslmode", `Must be ${TLS_MODES.slice(0, -1).join(", ")} or verify-full`);
  }
  return found ?? fallback;
}

// Other clients' `ssl` counts as an sslmode, unless there is one, which it must not weaken.
function modeOfSsl(
  { ssl }: AddressParameters,
  mistakes: AddressMistake[],
): { readonly sslmode?: string } {
  if (ssl === undefined) return {};
  if (/^(true|1)$/.test(ssl)) return { sslmode: "require" };
  if (/^(false|0)$/.test(ssl)) return { sslmode: "disable" };
  mistakes.push({ parameter: "ssl", message: "Must be true or false; sslmode has more choices" });
  return {};
}

/** Settings that the program sets on each connection, whatever else asks for another value. */
const OWN_SETTINGS =
  /^(datestyle|intervalstyle|timezone|bytea_output|extra_float_digits|jit|client_encoding|standard_conforming_strings|(default_)?transaction_.*|statement_timeout|lock_timeout|idle_.*_timeout|transaction_timeout|plan_cache_mode)$/;

/** Settings of `-c name=value`, `-cname=value` and `--name=value`; a backslash keeps a space. */
function readOptions(values: Values): Readonly<Record<string, string>> {
  // A setting may be called __proto__, and PostgreSQL is to refuse it.
  const settings = new Map<string, string>();
  const text = values.text("options")?.trim() ?? "";
  const words = text.match(/(?:\\.|[^\s\\])+/gs) ?? [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] === "-c" ? `-c${words[++index] ?? ""}` : words[index] ?? "";
    const found = /^(?:-c|--)([A-Za-z_][\w.-]*)=(.*)$/s.exec(word.replace(/\\(.)/gs, "$1"));
    const name = found?.[1]?.replaceAll("-", "_").toLowerCase();
    if (found === null || name === undefined) {
      values.refuse("options", "Must be settings such as -c search_path=bookme");
      break;
    }
    if (OWN_SETTINGS.test(name)) {
      values.refuse("options", `The program sets ${name} itself; remove it`);
    } else settings.set(name, found[2] ?? "");
  }
  return Object.fromEntries(settings);
}

// How often and how long to probe is the heartbeat's business, which is quicker than any of these.
function readKeepalive(values: Values): DatabaseAddress["keepalive"] {
  const enabled = values.integer("keepalives") ?? 1;
  const idle_s = values.integer("keepalives_idle") ?? 0;
  for (const parameter of ["keepalives_interval", "keepalives_count", "tcp_user_timeout"]) {
    values.integer(parameter);
  }
  return { enabled: enabled !== 0, ...(idle_s > 0 ? { idle_ms: idle_s * 1000 } : {}) };
}
