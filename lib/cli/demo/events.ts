/** Something that happened at a business that is made up. */
export interface DemoEvent {
  readonly type: string;
  /** JSON text of the whole event, written as the documentation's samples are. */
  readonly payload: string;
}

/** Makes up bookings and the events of their lives. */
export interface DemoEvents {
  next(now_ms: number): DemoEvent;
}

interface Service {
  readonly id: string;
  readonly name: string;
  /** Minutes. */
  readonly duration: number;
  /** Cents. */
  readonly price: number;
}

interface Business {
  readonly id: string;
  readonly name: string;
  readonly slug: string;
  readonly services: readonly Service[];
}

const BUSINESSES: readonly Business[] = [
  business("bus_123", "Bella Hair Salon", [
    ["Haircut & Style", 60, 7500],
    ["Hair Color", 120, 15000],
    ["Blow-Dry", 45, 4500],
  ]),
  business("bus_207", "Oak & Iron Barbers", [
    ["Beard Trim", 30, 2800],
    ["Classic Cut", 45, 3900],
    ["Hot Towel Shave", 40, 4200],
  ]),
  business("bus_311", "Studio Lotus", [
    ["Deep Tissue Massage", 90, 11000],
    ["Facial", 60, 8500],
    ["Yoga, Private Lesson", 60, 9000],
  ]),
  business("bus_418", "Brightside Dental", [
    ["Check-up", 30, 6000],
    ["Cleaning", 45, 9500],
    ["Whitening", 75, 24000],
  ]),
];

function business(
  id: string,
  name: string,
  services: readonly (readonly [string, number, number])[],
): Business {
  const slug = name.toLowerCase().replace(/[^a-z]+/g, "-");
  const number = Number(id.slice("bus_".length));
  return {
    id,
    name,
    slug,
    services: services.map(([service, duration, price], index) => ({
      id: `svc_${number * 10 + index}`,
      name: service,
      duration,
      price,
    })),
  };
}

const FIRST = [
  "Ada",
  "Bilal",
  "Chloé",
  "Daniel",
  "Elif",
  "Farah",
  "Grace",
  "Hugo",
  "Inés",
  "Jonas",
];
const LAST = [
  "Okafor",
  "Lindqvist",
  "Nguyen",
  "Marino",
  "Şahin",
  "Haddad",
  "Novák",
  "Silva",
  "Weiß",
];
const NOTES = ["First time customer", "Prefers Sarah", "Allergic to lavender", "Running late", ""];
const REASONS = ["Customer request", "Double booking", "Staff is ill", "No longer needed"];
const LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789";
const DAY_MS = 86_400_000;

interface Booking {
  readonly id: string;
  readonly confirmationNumber: string;
  confirmed: boolean;
}

/** The same events for the same seed; only the times in them are those that `next` is given. */
export function makeDemoEvents(seed: number): DemoEvents {
  const random = makeRandom(seed);
  const pick = <T>(list: readonly T[]): T => {
    const found = list[Math.floor(random() * list.length)];
    if (found === undefined) throw new RangeError("Nothing to pick from");
    return found;
  };
  const open: Booking[] = [];
  let number = 1000;

  function created(now_ms: number): DemoEvent {
    const { id, name, slug, services } = pick(BUSINESSES);
    const service = pick(services);
    const [first, last] = [pick(FIRST), pick(LAST)];
    const booking: Booking = {
      id: `apt_${++number}`,
      confirmationNumber: "BK" + Array.from({ length: 6 }, () => pick([...LETTERS])).join(""),
      confirmed: false,
    };
    open.push(booking);
    const start_min = 9 * 60 + 15 * Math.floor(random() * 32);
    const day = new Date(now_ms + DAY_MS * (1 + Math.floor(random() * 14)));
    const notes = pick(NOTES);
    return event("booking.created", now_ms, {
      appointment: {
        id: booking.id,
        confirmationNumber: booking.confirmationNumber,
        business: { id, name, slug },
        service,
        customer: {
          name: `${first} ${last}`,
          email: `${plain(first)}.${plain(last)}@example.com`,
          phone: `+1-555-01${String(Math.floor(random() * 100)).padStart(2, "0")}`,
        },
        appointmentDate: day.toISOString().slice(0, 10),
        startTime: timeOfDay(start_min),
        endTime: timeOfDay(start_min + service.duration),
        status: "pending",
        ...(notes === "" ? {} : { notes }),
        createdAt: instant(now_ms),
      },
    });
  }

  function continued(now_ms: number): DemoEvent {
    const booking = pick(open);
    const { id, confirmationNumber, confirmed } = booking;
    const step = random() < 0.2 ? "cancelled" : confirmed ? "completed" : "confirmed";
    if (step === "confirmed") booking.confirmed = true;
    else open.splice(open.indexOf(booking), 1);
    const more = step === "cancelled"
      ? { cancellationReason: pick(REASONS), cancelledBy: pick(["customer", "business"]) }
      : {};
    return event(`booking.${step}`, now_ms, {
      appointment: {
        id,
        confirmationNumber,
        status: step,
        [`${step}At`]: instant(now_ms),
        ...more,
      },
    });
  }

  function changed(now_ms: number): DemoEvent {
    const { id, services } = pick(BUSINESSES);
    const updatedAt = instant(now_ms);
    if (random() < 0.3) {
      const updatedFields = pick([["name", "description"], ["openingHours"], ["address", "phone"]]);
      return event("business.updated", now_ms, { business: { id, updatedFields, updatedAt } });
    }
    const updatedFields = pick([["price"], ["price", "description"], ["duration"]]);
    return event("service.updated", now_ms, {
      service: { id: pick(services).id, businessId: id, updatedFields, updatedAt },
    });
  }

  return {
    next(now_ms) {
      const chance = random();
      if (chance > 0.9) return changed(now_ms);
      return open.length < 3 || (chance < 0.35 && open.length < 50)
        ? created(now_ms)
        : continued(now_ms);
    },
  };
}

function event(type: string, now_ms: number, data: Record<string, unknown>): DemoEvent {
  return {
    type,
    payload: JSON.stringify({ event: type, timestamp: instant(now_ms), data }, null, 2),
  };
}

function instant(at_ms: number): string {
  return new Date(at_ms).toISOString();
}

function timeOfDay(minutes: number): string {
  const pad = (value: number) => String(value).padStart(2, "0");
  return `${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll("ß", "ss").normalize("NFD").replace(/[^a-z]/g, "");
}

// Mulberry32: small, and the same everywhere.
function makeRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
