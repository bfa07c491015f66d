import { Buffer } from "node:buffer";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { Leaf } from "./tls.ts";
import { until } from "./wait.ts";

/** A mail that came in. */
export interface Mail {
  readonly from: string;
  readonly to: readonly string[];
  /** Who had logged in, or null. */
  readonly user: string | null;
  /** Whether it came by TLS. */
  readonly secure: boolean;
  /** Head and body, lines split by \n. */
  readonly data: string;
}

/** A mail server on loopback: RFC 5321 as far as a client needs it, with TLS and logins. */
export interface SmtpServer extends AsyncDisposable {
  /** `smtp://127.0.0.1:…`, or `smtps:` if it speaks TLS from the start. */
  readonly url: string;
  readonly port: number;
  readonly mails: readonly Mail[];
  /** Every command so far, those without TLS marked: `plain EHLO example.com`. */
  readonly commands: readonly string[];
  received(count: number): Promise<readonly Mail[]>;
}

/** What a server does. */
export interface SmtpOptions {
  /** Its own answer to a command or to `CONNECT`, such as `550 No`; null: it never answers that. */
  readonly answer?: (command: string) => string | null | undefined;
  /** Answers commands that begin so with ever another line, and never with a last one. */
  readonly endless?: string;
  /** Offers TLS. */
  readonly certificate?: Leaf;
  /** Speaks TLS from the start, instead of after STARTTLS. */
  readonly implicit?: boolean;
  /** Wants this login, by these ways. */
  readonly login?: { readonly user: string; readonly pass: string; readonly ways: string };
}

/** Starts one. */
export async function startSmtp(options: SmtpOptions = {}): Promise<SmtpServer> {
  const { certificate, implicit = false } = options;
  const mails: Mail[] = [];
  const commands: string[] = [];
  const sockets = new Set<Socket>();
  const known = (server: Server) =>
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      socket.on("error", () => {});
    });
  const heard = {
    arrived: (mail: Mail) => mails.push(mail),
    said: (it: string) => commands.push(it),
  };
  const begin = (socket: Socket, secure: boolean, greeted: boolean) => {
    socket.on("error", () => {});
    const upgrade = async () => passOn(socket, await listening(secured()));
    converse(socket, options, { secure, greeted, upgrade, ...heard });
  };
  let inner: Server | undefined;
  // After STARTTLS a connection goes on at this one: sockets of this runtime cannot become a TLS server's.
  const secured = () => inner ??= known(tlsServer((socket) => begin(socket, true, !implicit)));
  const tlsServer = (talk: (socket: Socket) => void) =>
    createTlsServer({ ...certificate }, talk).on("tlsClientError", () => {});
  const server = implicit
    ? secured()
    : known(createServer((socket) => begin(socket, false, false)));
  const port = await listening(server);
  return {
    url: `${implicit ? "smtps" : "smtp"}://127.0.0.1:${port}`,
    port,
    mails,
    commands,
    received: (count) => until(`${count} mails`, () => mails.length >= count ? mails : undefined),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      for (const one of new Set([server, inner])) {
        if (one?.listening) await new Promise((closed) => one.close(closed));
      }
    },
  };
}

async function listening(server: Server): Promise<number> {
  if (!server.listening) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  return (server.address() as AddressInfo).port;
}

function passOn(socket: Socket, port: number): void {
  const other = connect(port, "127.0.0.1");
  other.on("error", () => socket.destroy()).on("close", () => socket.destroy());
  socket.on("close", () => other.destroy());
  socket.pipe(other).pipe(socket);
}

interface Talk {
  readonly secure: boolean;
  /** After STARTTLS there is no greeting. */
  readonly greeted: boolean;
  readonly upgrade: () => Promise<void>;
  readonly arrived: (mail: Mail) => void;
  readonly said: (command: string) => void;
}

function converse(
  socket: Socket,
  { answer = () => undefined, endless, certificate, login }: SmtpOptions,
  { secure, greeted, upgrade, arrived, said }: Talk,
): void {
  let [from, user, rest]: [string, string | null, string] = ["", null, ""];
  let to: string[] = [];
  let data: string[] | undefined;
  /** Lines of a login that are still to come. */
  let asked: ((line: string) => void) | undefined;
  const say = (line: string) => void socket.write(`${line}\r\n`);
  const hear = (chunk: Buffer) => {
    const lines = (rest + chunk.toString("utf8")).split("\r\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  };
  socket.on("data", hear);
  if (!greeted) reply("CONNECT", () => say("220 mail.example.com ESMTP"));

  function reply(command: string, usual: () => void): void {
    if (endless !== undefined && command.startsWith(endless)) {
      const ticker = setInterval(() => say("250-More"), 50);
      return void socket.on("close", () => clearInterval(ticker));
    }
    const own = answer(command);
    if (own === undefined) usual();
    else if (own !== null) say(own);
  }

  function take(line: string): void {
    if (data !== undefined) {
      if (line !== ".") return void data.push(line.replace(/^\.\./, "."));
      const mail = { from, to, user, secure, data: data.join("\n") };
      [data, to] = [undefined, []];
      return reply(".", () => (arrived(mail), say("250 Queued")));
    }
    if (asked !== undefined) return asked(line);
    said(secure ? line : `plain ${line}`);
    reply(line, () => obey(line));
  }

  function obey(line: string): void {
    const [, address = ""] = /<([^>]*)>/.exec(line) ?? [];
    switch (line.slice(0, 4).toUpperCase()) {
      case "EHLO":
        return say(
          ["mail.example.com", ...extensions(), "8BITMIME"].map((text, at, all) =>
            `250${at === all.length - 1 ? " " : "-"}${text}`
          ).join("\r\n"),
        );
      case "STAR":
        if (certificate === undefined || secure) return say("502 Not here");
        socket.off("data", hear);
        return say("220 Go ahead"), void upgrade();
      case "AUTH":
        return logIn(line);
      case "MAIL":
        from = address;
        return say("250 OK");
      case "RCPT":
        to.push(address);
        return say("250 OK");
      case "DATA":
        data = [];
        return say("354 Go ahead");
      case "QUIT":
        say("221 Bye");
        return void socket.end();
      default:
        return say("250 OK");
    }
  }

  function extensions(): string[] {
    return [
      ...(certificate !== undefined && !secure ? ["STARTTLS"] : []),
      ...(login === undefined ? [] : [`AUTH ${login.ways}`]),
    ];
  }

  function logIn(line: string): void {
    const [, way = "", first] = line.split(" ");
    const judge = (name: string, pass: string) => {
      const right = name === login?.user && pass === login.pass;
      if (right) user = name;
      say(right ? "235 Welcome" : "535 5.7.8 No: BODYOFSERVER");
    };
    if (way === "PLAIN") {
      const [, name = "", pass = ""] = decoded(first ?? "").split("\0");
      return judge(name, pass);
    }
    say("334 VXNlcm5hbWU6");
    asked = (name) => {
      say("334 UGFzc3dvcmQ6");
      asked = (pass) => {
        asked = undefined;
        judge(decoded(name), decoded(pass));
      };
    };
  }
}

function decoded(text: string): string {
  return Buffer.from(text, "base64").toString("utf8");
}
