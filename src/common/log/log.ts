/**
 * Structured logging: a constant message in lower case, and facts as fields with shared names.
 *
 * Lines are `time level message key=value ...` on one stream. Never log tokens, keys, payloads or environments.
 */

/** How loud a line is: error = a person should act, warn = odd but handled, info = life cycle, debug = the rest. */
export type LogLevel = "error" | "warn" | "info" | "debug";

/** Facts of a line. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes lines, with the fields it was made with on each. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log that adds these fields to every line. */
  with(fields: LogFields): Log;
}

const rank: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 };

/** A log that hands finished lines (without line end) to `write`. */
export function newLog(
  write: (line: string) => void,
  options: { level: LogLevel; now?: () => number },
): Log {
  const now = options.now ?? Date.now;
  const make = (base: LogFields): Log => {
    const put = (level: LogLevel) => (message: string, fields?: LogFields) => {
      if (rank[level] > rank[options.level]) return;
      write(
        `${new Date(now()).toISOString()} ${level} ${message}${fieldText(base)}${fieldText(fields)}`,
      );
    };
    return {
      error: put("error"),
      warn: put("warn"),
      info: put("info"),
      debug: put("debug"),
      with: (fields) => make({ ...base, ...fields }),
    };
  };
  return make({});
}

/** A log that drops everything. */
export const silentLog: Log = newLog(() => {}, { level: "error" });

function fieldText(fields: LogFields | undefined): string {
  let text = "";
  for (const [key, value] of Object.entries(fields ?? {})) {
    if (value !== undefined) text += ` ${key}=${valueText(value)}`;
  }
  return text;
}

function valueText(value: unknown): string {
  const text =
    value instanceof Error
      ? value.message
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);
  return /[\s"=]/.test(text) || text === "" ? JSON.stringify(text) : text;
}
