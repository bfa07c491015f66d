import { titleOf } from "../../../lib/core/problem.ts";
import type { House } from "../visit.ts";

/** Says what went wrong and leads back. */
export function ErrorPage(
  { house, status, detail }: {
    readonly house: House;
    readonly status: number;
    readonly detail: string;
  },
) {
  return (
    <>
      <h1>{titleOf(status)}</h1>
      <p>{detail}</p>
      <p>
        <a href={house.base}>Overview</a>
      </p>
    </>
  );
}
