import { string } from "valibot";
import { takeBackup } from "../../lib/admin/backup.ts";
import { writeBytes } from "../bytes_writer.ts";
import { operation, Written } from "./operation.ts";

const TAR = "application/x-tar";

export const backupOperations = [
  operation({
    id: "takeBackup",
    method: "get",
    path: "/api/backup",
    admin: true,
    tag: "Operation",
    summary: "Streams a backup of the embedded database, taken while it is used",
    description:
      "A tar archive of the database, a manifest and the SHA-256 of both, for the command `restore`. It has " +
      "everything accepted before it began. The encryption key, the configuration and secrets are not in it. " +
      "Needs the role admin, is in the audit log, and is taken one at a time. An answer without its end is " +
      "no backup.",
    status: 200,
    response: string(),
    content_type: TAR,
    refuses: ["conflict"],
    example: { response: "postgres/PG_VERSION …" },
    async handle(ctx, { by, outgoing }) {
      const parts = await takeBackup(ctx, by);
      const headers = {
        "content-type": TAR,
        "content-disposition": 'attachment; filename="bookme-webhooks.tar"',
      };
      // It goes on after this: nobody waits for its end.
      void writeBytes(outgoing, headers, parts, "Backup", ctx.log);
      return new Written();
    },
  }),
];
