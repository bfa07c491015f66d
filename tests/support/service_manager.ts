/** A stand-in for systemd: the datagram socket that NOTIFY_SOCKET names. */
export interface NotifySocket extends AsyncDisposable {
  /** For NOTIFY_SOCKET. */
  readonly name: string;
  /** The fields of each message so far, such as `READY=1`. */
  readonly messages: readonly (readonly string[])[];
}

/** Listens at a file of a new directory, or at a name of the abstract namespace, as systemd may. */
export async function listenAsManager(kind: "file" | "abstract"): Promise<NotifySocket> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-notify-" });
  const name = kind === "file" ? `${directory}/notify` : `@bookme-${crypto.randomUUID()}`;
  const socket = Deno.listenDatagram({ transport: "unixpacket", path: name.replace(/^@/, "\0") });
  const messages: string[][] = [];
  const reading = (async () => {
    for await (const [bytes] of socket) messages.push(new TextDecoder().decode(bytes).split("\n"));
  })();
  return {
    name,
    messages,
    async [Symbol.asyncDispose]() {
      socket.close();
      await reading;
      await Deno.remove(directory, { recursive: true });
    },
  };
}
