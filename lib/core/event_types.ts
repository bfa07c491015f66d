import * as v from "valibot";
import type { Mistake } from "./errors.ts";
import { IDENTIFIER, IDENTIFIER_RULE } from "./identifier.ts";
import { isObject, typeMistake } from "./json.ts";

/** The member of `data` that an event is about. */
export type Subject = "appointment" | "business" | "service";

/** A kind of event: one of the documentation's eight, or one that the configuration adds. */
export interface EventType {
  /** Dotted, such as `booking.created`. */
  readonly name: string;
  readonly description: string;
  /** Known by the name's first part (`booking.` is about an appointment); null for others. */
  readonly subject: Subject | null;
  /** JSON text of a whole event: the documentation's, or the least that a custom type accepts. */
  readonly sample: string;
  /** Schema of `data`, also as a JSON Schema. It accepts further members, and leaves them out of its output. */
  readonly schema: v.GenericSchema;
  /** Further rules of a custom type. Pointers are relative to `data`. */
  readonly check?: (data: unknown) => readonly Mistake[];
}

/** A type that the configuration adds, which has checked that names are valid and unique. */
export type CustomEventType = Pick<EventType, "name" | "description" | "check">;

/** The known event types: the documentation's eight and the configuration's. */
export interface EventTypes {
  readonly names: readonly string[];
  get(name: string): EventType | undefined;
}

/** An event type's name: at least two parts, `booking.created`. */
export const EVENT_NAME = /^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$/;

// To valibot a missing member is its object's mistake, with the object's expectation.
function mustBe(expected: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => typeMistake(expected, input);
}

function record<const E extends v.ObjectEntries>(entries: E) {
  const expected = mustBe("an object");
  // To valibot an array is an object too. A JSON Schema is made of the second: `typeMode: "output"`.
  // Nobody reads the output, so not `looseObject`: V8 compiles its copying of further members again after
  // every fifty events, a tenth of what a post costs.
  return v.pipe(
    v.custom<Record<string, unknown>>(isObject, expected),
    v.object(entries, expected),
  );
}

const text = v.string(mustBe("a string"));
const id = v.pipe(text, v.regex(IDENTIFIER, `Must have ${IDENTIFIER_RULE}`));
const integer = v.pipe(
  v.number(mustBe("an integer")),
  v.integer("Must be an integer, not a fraction"),
);

// The members that the documentation shows; `null` counts as absent. Only the subject's id is required.
// The rest is checked for its JSON type, and a date is any string.
const TEXT = v.nullish(text);
const ID = v.nullish(id);
const INTEGER = v.nullish(integer);
const TEXTS = v.nullish(v.array(text, mustBe("an array of strings")));

const SCHEMAS = {
  appointment: record({
    appointment: record({
      id,
      confirmationNumber: TEXT,
      business: v.nullish(record({ id: ID, name: TEXT, slug: TEXT })),
      service: v.nullish(record({ id: TEXT, name: TEXT, duration: INTEGER, price: INTEGER })),
      customer: v.nullish(record({ name: TEXT, email: TEXT, phone: TEXT })),
      appointmentDate: TEXT,
      startTime: TEXT,
      endTime: TEXT,
      status: TEXT,
      notes: TEXT,
      createdAt: TEXT,
      confirmedAt: TEXT,
      cancelledAt: TEXT,
      cancellationReason: TEXT,
      cancelledBy: TEXT,
      completedAt: TEXT,
    }),
  }),
  business: record({
    business: record({
      id,
      name: TEXT,
      slug: TEXT,
      category: TEXT,
      owner: v.nullish(record({ id: TEXT, email: TEXT })),
      createdAt: TEXT,
      updatedFields: TEXTS,
      updatedAt: TEXT,
    }),
  }),
  service: record({
    service: record({
      id,
      businessId: ID,
      name: TEXT,
      duration: INTEGER,
      price: INTEGER,
      createdAt: TEXT,
      updatedFields: TEXTS,
      updatedAt: TEXT,
    }),
  }),
};

// Appointment and business of a custom `booking.moved` work as in the documented types, but both are
// optional.
const CUSTOM_SCHEMAS = {
  appointment: record({
    appointment: v.nullish(record({
      id: ID,
      confirmationNumber: TEXT,
      business: v.nullish(record({ id: ID })),
    })),
  }),
  business: record({ business: v.nullish(record({ id: ID })) }),
  service: record({ service: v.nullish(record({ id: ID, businessId: ID })) }),
};

const SUBJECTS: ReadonlyMap<string, Subject> = new Map([
  ["booking", "appointment"],
  ["business", "business"],
  ["service", "service"],
]);

/** The business in the documentation's samples. */
export const SAMPLE_BUSINESS = "bus_123";

/** The eight event types of the documentation, in its order, with its samples unchanged. */
export const EVENT_TYPES: readonly EventType[] = [
  {
    name: "booking.created",
    description: "Triggered when a new booking is created.",
    subject: "appointment",
    schema: SCHEMAS.appointment,
    sample: `{
  "event": "booking.created",
  "timestamp": "2025-10-31T15:30:00Z",
  "data": {
    "appointment": {
      "id": "apt_789",
      "confirmationNumber": "BK7X9M2P",
      "business": {
        "id": "bus_123",
        "name": "Bella Hair Salon",
        "slug": "bella-hair-salon"
      },
      "service": {
        "id": "svc_456",
        "name": "Haircut & Style",
        "duration": 60,
        "price": 7500
      },
      "customer": {
        "name": "John Doe",
        "email": "john@example.com",
        "phone": "+1-555-0199"
      },
      "appointmentDate": "2025-11-01",
      "startTime": "10:00",
      "endTime": "11:00",
      "status": "pending",
      "notes": "First time customer",
      "createdAt": "2025-10-31T15:30:00Z"
    }
  }
}`,
  },
  {
    name: "booking.confirmed",
    description: "Triggered when a booking is confirmed by the business.",
    subject: "appointment",
    schema: SCHEMAS.appointment,
    sample: `{
  "event": "booking.confirmed",
  "timestamp": "2025-10-31T16:00:00Z",
  "data": {
    "appointment": {
      "id": "apt_789",
      "confirmationNumber": "BK7X9M2P",
      "status": "confirmed",
      "confirmedAt": "2025-10-31T16:00:00Z"
    }
  }
}`,
  },
  {
    name: "booking.cancelled",
    description: "Triggered when a booking is cancelled.",
    subject: "appointment",
    schema: SCHEMAS.appointment,
    sample: `{
  "event": "booking.cancelled",
  "timestamp": "2025-10-31T16:30:00Z",
  "data": {
    "appointment": {
      "id": "apt_789",
      "confirmationNumber": "BK7X9M2P",
      "status": "cancelled",
      "cancelledAt": "2025-10-31T16:30:00Z",
      "cancellationReason": "Customer request",
      "cancelledBy": "customer"
    }
  }
}`,
  },
  {
    name: "booking.completed",
    description: "Triggered when a booking is marked as completed.",
    subject: "appointment",
    schema: SCHEMAS.appointment,
    sample: `{
  "event": "booking.completed",
  "timestamp": "2025-11-01T11:00:00Z",
  "data": {
    "appointment": {
      "id": "apt_789",
      "confirmationNumber": "BK7X9M2P",
      "status": "completed",
      "completedAt": "2025-11-01T11:00:00Z"
    }
  }
}`,
  },
  {
    name: "business.created",
    description: "Triggered when a new business is created.",
    subject: "business",
    schema: SCHEMAS.business,
    sample: `{
  "event": "business.created",
  "timestamp": "2025-10-31T10:00:00Z",
  "data": {
    "business": {
      "id": "bus_123",
      "name": "Bella Hair Salon",
      "slug": "bella-hair-salon",
      "category": "salon",
      "owner": {
        "id": "usr_456",
        "email": "sarah@bellahair.com"
      },
      "createdAt": "2025-10-31T10:00:00Z"
    }
  }
}`,
  },
  {
    name: "business.updated",
    description: "Triggered when business details are updated.",
    subject: "business",
    schema: SCHEMAS.business,
    sample: `{
  "event": "business.updated",
  "timestamp": "2025-10-31T14:00:00Z",
  "data": {
    "business": {
      "id": "bus_123",
      "updatedFields": ["name", "description"],
      "updatedAt": "2025-10-31T14:00:00Z"
    }
  }
}`,
  },
  {
    name: "service.created",
    description: "Triggered when a new service is added.",
    subject: "service",
    schema: SCHEMAS.service,
    sample: `{
  "event": "service.created",
  "timestamp": "2025-10-31T12:00:00Z",
  "data": {
    "service": {
      "id": "svc_789",
      "businessId": "bus_123",
      "name": "Hair Color",
      "duration": 120,
      "price": 15000,
      "createdAt": "2025-10-31T12:00:00Z"
    }
  }
}`,
  },
  {
    name: "service.updated",
    description: "Triggered when a service is modified.",
    subject: "service",
    schema: SCHEMAS.service,
    sample: `{
  "event": "service.updated",
  "timestamp": "2025-10-31T13:00:00Z",
  "data": {
    "service": {
      "id": "svc_789",
      "businessId": "bus_123",
      "updatedFields": ["price", "description"],
      "updatedAt": "2025-10-31T13:00:00Z"
    }
  }
}`,
  },
];

/** Events about this program itself: endpoints select them by name or as `webhooks.*`, and nobody posts them. */
export const OPERATIONAL_NAMES = [
  "webhooks.alert.began",
  "webhooks.alert.reminded",
  "webhooks.alert.ended",
] as const;

/** The documentation's event types and `custom` ones. */
export function makeEventTypes(custom: readonly CustomEventType[]): EventTypes {
  const types = new Map([...EVENT_TYPES, ...custom.map(complete)].map((type) => [type.name, type]));
  return { names: [...types.keys()], get: (name) => types.get(name) };
}

function complete(type: CustomEventType): EventType {
  const subject = SUBJECTS.get(type.name.split(".")[0] ?? "") ?? null;
  const sample = { event: type.name, timestamp: "2025-10-31T15:30:00Z", data: {} };
  return {
    ...type,
    subject,
    schema: subject === null ? record({}) : CUSTOM_SCHEMAS[subject],
    sample: JSON.stringify(sample, null, 2),
  };
}
