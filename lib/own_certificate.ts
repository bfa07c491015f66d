import type { Config } from "./config/config.ts";
import { validityMistakes } from "./core/tls_settings.ts";
import type { HttpServer } from "./http/server.ts";
import type { Log } from "./observe/log.ts";

/** Warns if the listener's certificate is not valid now: clients, BookMe among them, refuse it. */
export function warnOfCertificate({ server: { tls } }: Config, log: Log): void {
  if (tls === null) return;
  for (const { message } of validityMistakes({ cert: tls.cert }, Date.now())) {
    log.warn("The certificate of server.tls is not valid; clients refuse it", { cause: message });
  }
}

/** Has the listener show the certificate of a configuration that was read again. */
export function renewCertificate(http: HttpServer, config: Config, log: Log): void {
  http.renew(config.server.tls);
  warnOfCertificate(config, log);
}
