import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { DatabaseAddress } from "../../core/database_address.ts";
import { type Conversation, errorFields, message } from "./conversation.ts";
import { type Failure, failure } from "./failure.ts";
import { makeScram, type Scram } from "./scram.ts";

/** What a server says about a session before its first statement. */
export interface Welcome {
  /** The major version, such as 18; 0 if the server does not say. */
  readonly version: number;
  /** The body of BackendKeyData, by which a statement could be cancelled. */
  readonly cancel_key: Buffer | undefined;
}

/** Codes of an ErrorResponse to a start that no waiting cures: roles, rights, names, settings. */
const PERMANENT = /^(28|3D|42|22|0A)/;

/**
 * Starts a session: startup message, authentication, up to the first ReadyForQuery. Rejects with a
 * `Failure` that has the SQLSTATE if the server refuses.
 */
export async function startSession(
  talk: Conversation,
  address: DatabaseAddress,
  application_name: string,
): Promise<Welcome> {
  const parameters = {
    user: address.user,
    database: address.name,
    application_name,
    client_encoding: "UTF8",
  };
  const version = Buffer.from([0, 3, 0, 0]);
  talk.send(message("", version, ...Object.entries(parameters).flat(), Buffer.alloc(1)));
  const authenticate = makeAuthentication(talk, address);
  let major = 0;
  let cancel_key: Buffer | undefined;
  for (;;) {
    const { type, body } = await talk.next();
    if (type === "E") throw refusal(errorFields(body), address);
    if (type === "R") await authenticate(body);
    if (type === "K") cancel_key = body;
    if (type === "S") {
      const [name, value] = body.toString("utf8").split("\0");
      if (name === "server_version") major = Number.parseInt(value ?? "") || 0;
    }
    if (type === "Z") return { version: major, cancel_key };
  }
}

/** The failure that an ErrorResponse means, with a remedy if there is one. */
export function refusal(
  { C: code = "XX000", M: text = "an error without a message", S: severity = "ERROR" }: Partial<
    Record<string, string>
  >,
  { name, user }: Pick<DatabaseAddress, "name" | "user">,
): Failure {
  const remedy = code === "28P01"
    ? "; check database.user and database.password, or those in database.url"
    : code.startsWith("28") && /^role ".*" does not exist$/.test(text)
    ? `; create it: createuser ${user}, or correct the user`
    : code.startsWith("28")
    ? "; correct the user, or let pg_hba.conf and the role allow it"
    : code === "3D000"
    ? `; create it: createdb -E UTF8 -T template0 ${name}`
    : "";
  return failure(code, `answers ${severity}: ${text}${remedy}`, PERMANENT.test(code));
}

// Answers each request for authentication. A server that knows the password has to prove it (SCRAM).
function makeAuthentication(
  talk: Conversation,
  { user, password }: Pick<DatabaseAddress, "user" | "password">,
): (body: Buffer) => Promise<void> {
  let scram: Scram | undefined;
  let proven = true;
  const secret = () => {
    if (password !== undefined) return password.reveal();
    throw failure(
      "28P01",
      "asks for a password; set database.password, or one in database.url",
      true,
    );
  };
  return async (body) => {
    const content = body.subarray(4);
    switch (body.readUInt32BE(0)) {
      case 0:
        if (proven) return;
        throw failure(
          "28P01",
          "does not prove that it knows the password; it is another server",
          true,
        );
      case 3:
        return talk.send(message("p", secret()));
      case 5: {
        const inner = md5(secret() + user);
        return talk.send(message("p", `md5${md5(Buffer.concat([Buffer.from(inner), content]))}`));
      }
      case 10: {
        if (!content.toString("latin1").split("\0").includes("SCRAM-SHA-256")) break;
        scram = makeScram(secret());
        proven = false;
        const first = Buffer.from(scram.first);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(first.length);
        return talk.send(message("p", "SCRAM-SHA-256", length, first));
      }
      case 11:
        if (scram === undefined) break;
        return talk.send(message("p", Buffer.from(await scram.proof(content.toString("utf8")))));
      case 12:
        proven = scram?.accepts(content.toString("utf8")) === true;
        return;
    }
    throw failure(
      "28000",
      "asks for an authentication other than password, md5 and scram-sha-256; change pg_hba.conf",
      true,
    );
  };
}

function md5(bytes: string | Buffer): string {
  return createHash("md5").update(bytes).digest("hex");
}
