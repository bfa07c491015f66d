/** Parts of pages. All of it is text and attributes: the policy of pages blocks inline styles and scripts. */

export * from "./actions.tsx";
export * from "./attempt.tsx";
export * from "./chart.tsx";
export * from "./compare.tsx";
export * from "./form.tsx";
export * from "./rows.tsx";
export * from "./section.tsx";
export * from "./state.tsx";
export * from "./text.tsx";
export * from "./time.tsx";
export * from "./timeline.tsx";
export * from "./verdict.tsx";
