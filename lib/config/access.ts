import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { AppError } from "../core/errors.ts";
import { isObject } from "../core/json.ts";
import { Secret } from "../core/secret.ts";
import { DEFAULTS } from "./config.ts";
import { isServer } from "./database.ts";
import { ConfigError } from "./error.ts";
import { TOKEN_FILE } from "./first_start.ts";
import { readFile } from "./load.ts";
import { filePath, readText, resolveSecret, type Surroundings } from "./references.ts";
import { serverSchema } from "./sections.ts";
import { pem } from "./tls.ts";
import { keyLabel, parseYaml, type Path, YamlError, type YamlFile } from "./yaml.ts";

/** Address and token of a configuration's daemon. */
export interface Access {
  readonly listen: { readonly host: string; readonly port: number };
  /** PEM text of the certificate that the daemon shows; null: it speaks plain HTTP. */
  readonly cert: string | null;
  readonly token: Secret;
  /** The origin of the token, in words. */
  readonly token_name: string;
}

/**
 * Reads from the configuration how a command reaches its daemon. The rest of the file is not checked:
 * a user of the daemon need not be able to read the endpoints' secrets. The token is the first admin's,
 * else the first one, else the one that a daemon on an embedded database makes. Throws a `ConfigError`
 * if one of these has a mistake.
 */
export function readAccess(path: string, env: Surroundings["env"]): Access {
  return readParts(path, env, (...parts) => ({
    ...readServer(...parts),
    ...readToken(...parts),
  }));
}

/** The same without the token, for a request that needs none. */
export function readAddress(
  path: string,
  env: Surroundings["env"],
): Pick<Access, "listen" | "cert"> {
  return readParts(path, env, readServer);
}

function readParts<Parts>(
  path: string,
  env: Surroundings["env"],
  read: (file: YamlFile, root: Record<string, unknown>, around: Surroundings) => Parts,
): Parts {
  const directory = dirname(resolve(path));
  try {
    const file = parseYaml(readFile(resolve(path)));
    const root = isObject(file.data) ? file.data : {};
    return read(file, root, { directory, env, production: false });
  } catch (error) {
    if (error instanceof YamlError) throw new ConfigError(path, error.mistakes);
    throw error;
  }
}

// Without the private key, which need not be readable either.
function readServer(
  file: YamlFile,
  root: Record<string, unknown>,
  around: Surroundings,
): Pick<Access, "listen" | "cert"> {
  const server = isObject(root["server"]) ? root["server"] : {};
  const { tls, ...others } = server;
  const cert = isObject(tls) ? tls["cert"] : undefined;
  return {
    listen: readAt(file, ["server"], serverSchema(around), others).listen,
    cert: tls == null ? null : readAt(file, ["server", "tls", "cert"], pem("cert", around), cert),
  };
}

function readAt<T>(
  file: YamlFile,
  path: Path,
  schema: v.GenericSchema<unknown, T>,
  value: unknown,
): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new YamlError(result.issues.map((issue) => {
    const inner = issue.path?.map((item) => item.key as string | number) ?? [];
    return file.mistakeAt([...path, ...inner], issue.message);
  }));
}

function readToken(
  file: YamlFile,
  root: Record<string, unknown>,
  around: Surroundings,
): Pick<Access, "token" | "token_name"> {
  const admin = isObject(root["admin"]) ? root["admin"] : {};
  const tokens: unknown[] = Array.isArray(admin["tokens"]) ? admin["tokens"] : [];
  const first = tokens.findIndex((token) => isObject(token) && token["role"] === "admin");
  const index = Math.max(first, 0);
  const chosen = tokens[index];
  if (!isObject(chosen)) return madeToken(file, root, around);
  const secrets = isObject(root["secrets"]) ? root["secrets"] : {};
  const written = String(chosen["token"]);
  const named = Object.hasOwn(secrets, written) ? String(secrets[written]) : written;
  return {
    token: attempt(
      file,
      ["admin", "tokens", index, "token"],
      () => new Secret(resolveSecret(named, around)),
    ),
    token_name: `${JSON.stringify(keyLabel(String(chosen["name"])))} of admin.tokens`,
  };
}

function madeToken(
  file: YamlFile,
  root: Record<string, unknown>,
  around: Surroundings,
): Pick<Access, "token" | "token_name"> {
  const database = isObject(root["database"]) ? root["database"] : {};
  if (isServer(database)) {
    throw new YamlError([
      file.mistakeAt(["admin"], "Has no tokens; the admin API needs one"),
    ]);
  }
  const written = String(database["directory"] ?? DEFAULTS.directory);
  const directory = attempt(file, ["database", "directory"], () => filePath(written, around));
  const path = resolve(directory, TOKEN_FILE);
  const token = attempt(file, ["admin"], () => {
    try {
      return new Secret(readText(path, false).trim());
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "not_found") throw error;
      throw new AppError("not_found", `${error.message}; the daemon makes it at its first start`);
    }
  });
  return { token, token_name: `in ${path}` };
}

function attempt<T>(file: YamlFile, path: Path, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AppError) throw new YamlError([file.mistakeAt(path, error.message)]);
    throw error;
  }
}
