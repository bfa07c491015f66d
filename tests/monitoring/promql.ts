/** The names in a PromQL expression. Its syntax is for promtool to check. */

/** A metric in an expression. */
export interface Use {
  readonly name: string;
  readonly matchers: readonly Matcher[];
  /** The function or aggregation directly around it, as `rate`; empty without one. */
  readonly within: string;
}

/** A condition for a label. */
export interface Matcher {
  readonly label: string;
  readonly operator: string;
  readonly value: string;
}

/** Metrics of an expression, and the labels by which it groups and matches. */
export interface Names {
  readonly uses: readonly Use[];
  readonly labels: readonly string[];
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[a-zA-Z_:][\w:]*|\d[\w.]*|=~|!~|!=|==|>=|<=|\S/g;
const NAME = /^[a-zA-Z_:]/;
/** What has a list of labels after it. */
const GROUPING = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/** Other words that are no metrics, although no parenthesis follows. */
const WORDS = [
  "and",
  "or",
  "unless",
  "bool",
  "offset",
  "sum",
  "min",
  "max",
  "avg",
  "count",
  "topk",
];

/** Finds the metrics and labels of an expression without comments. */
export function namesIn(expression: string): Names {
  const tokens: readonly string[] = expression.match(TOKEN) ?? [];
  const uses: Use[] = [];
  const labels: string[] = [];
  /** What each open parenthesis belongs to. */
  const open: string[] = [];
  let aggregation = "";
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] ?? "";
    const next = tokens[at + 1];
    if (token === "(") {
      const before = tokens[at - 1] ?? "";
      open.push(before === ")" ? aggregation : NAME.test(before) ? before : "");
    } else if (token === ")") {
      open.pop();
    } else if (NAME.test(token)) {
      if (GROUPING.includes(open.at(-1) ?? "")) labels.push(token);
      else if (next === "(" || GROUPING.includes(token) || WORDS.includes(token)) {
        if (next === "by" || next === "without") aggregation = token;
        if (token === "on" || token === "ignoring") aggregation = "";
      } else {
        const end = next === "{" ? tokens.indexOf("}", at) : at;
        uses.push({
          name: token,
          matchers: matchersOf(tokens.slice(at + 2, end)),
          within: open.at(-1) ?? "",
        });
        at = end;
      }
    } else if (token === "[") {
      at = tokens.indexOf("]", at);
    }
  }
  return { uses, labels };
}

function matchersOf(tokens: readonly string[]): Matcher[] {
  const found: Matcher[] = [];
  for (let at = 0; at < tokens.length; at += 4) {
    const [label = "", operator = "", value = '""'] = tokens.slice(at, at + 3);
    found.push({ label, operator, value: JSON.parse(value) });
  }
  return found;
}
