import assert from "node:assert/strict";
import fc from "fast-check";
import { type Bagged, makeBag } from "../../lib/core/bag.ts";

Deno.test("makeBag() holds what a Set would", () => {
  const step = fc.record({ add: fc.boolean(), which: fc.nat(9) });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const things: Bagged[] = Array.from({ length: 10 }, () => ({ place: -1 }));
    const bag = makeBag<Bagged>();
    const model = new Set<Bagged>();
    for (const { add, which } of steps) {
      const thing = things[which];
      if (thing === undefined || add && model.has(thing)) continue;
      for (const held of [bag, model]) add ? held.add(thing) : held.delete(thing);
      assert.equal(bag.size, model.size);
    }
    assert.deepEqual(new Set(bag), model);
  }));
});

Deno.test("makeBag() lets what it gave last be deleted while it is looked through", () => {
  const bag = makeBag<Bagged & { name: number }>();
  for (let name = 0; name < 20; name++) bag.add({ name, place: -1 });
  const seen: number[] = [];
  for (const thing of bag) {
    seen.push(thing.name);
    if (thing.name % 3 > 0) bag.delete(thing);
  }
  assert.deepEqual(seen.toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, name) => name));
  assert.deepEqual([...bag].map(({ name }) => name % 3), Array(7).fill(0));
});
