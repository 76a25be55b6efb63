/** An event as the stream has it. */
export interface StreamEvent {
  /** Its name; `message` if it has none. */
  type: string;
  /** Its payload, before `parse`. */
  data: string;
  /** Its id. It is opaque: nothing in it is to be read. */
  id: string;
}

/** What a gap event says: something of one channel, or of the channels of one pattern, may be missing here. */
export interface Gap {
  /** Not there if it is a pattern's. */
  channel?: string;
  /** Not there if it is a channel's. */
  pattern?: string;
  reason:
    | "redis_disconnected"
    | "evicted"
    | "expired"
    | "slow_client"
    | "not_buffered"
    | "too_large"
    | "refused"
    | "unknown_id";
  /** The id up to which the channel or pattern is complete; null if there is none. */
  after: string | null;
  /** How many messages are missing; null if that is not known. */
  missed: number | null;
}

/** Keeps the cursor: `sessionStorage`, `localStorage`, or anything that has these two. */
export interface Store {
  getItem(key: string): string | null | undefined;
  setItem(key: string, value: string): void;
}

/** Called by name of event. `E` says what the payload of each is. What a handler returns is not waited for. */
export type Handlers<E> = { [Name in keyof E]?: (payload: E[Name], event: StreamEvent) => void };

interface Callbacks<E> {
  /** Handlers for events by name; `message` is that of an event without one. */
  on?: Handlers<E>;
  /** Gets the events whose names `on` does not have. Without it they are ignored. */
  other?(payload: E[keyof E], event: StreamEvent): void;

  /** Something may be missing at this place: fetch the state of what the gap names. */
  gap?(gap: Gap): void;
  /** The stream is open, and nothing told it from where: fetch the state, since what came before may be missing. */
  fresh?(): void;

  /** The stream is open: each time that it opens. */
  open?(response: Response): void;
  /**
   * There is no stream; the next attempt is in `wait` milliseconds. `why` is the answer that was no stream, the error of the
   * network, or undefined where the stream just ended.
   */
  lost?(wait: number, why?: Response | Error): void;

  /** A 401, a 403, or a redirect, as to a login page. The stream stays closed. */
  denied?(response: Response): void;
  /** A 204: there is nothing more to come. The stream stays closed. */
  end?(): void;
}

interface Settings {
  /** Options for `fetch`, such as `headers` or `credentials`, or what returns them before each request: a fresh token, say. */
  init?: RequestInit | (() => RequestInit | Promise<RequestInit>);
  /**
   * Keeps the cursor over reloads of the page: true for `sessionStorage`, or a storage. A page that does not store what it shows, too,
   * is not to have this: it would not be told to fetch its state. Default: none.
   */
  store?: boolean | Store;
  /** For how many milliseconds nothing may come before the stream counts as lost. More than the gateway's `heartbeat`. Default: 65,000. */
  silence?: number;
  /** The most characters (UTF-16) of an event, or of a line. Beyond it the stream counts as lost. Default: 33,554,432. */
  limit?: number;
  /** The gateway's `gap_event`. Default: `gap`. */
  gapEvent?: string;
  /** The gateway's `cursor_event`. Default: `cursor`. */
  cursorEvent?: string;
}

/** Makes a payload of an event's data, such as `JSON.parse`. It has to be given unless all payloads are text. */
type Parsing<E> = [E[keyof E]] extends [string]
  ? { parse?(data: string): E[keyof E] }
  : { parse(data: string): E[keyof E] };

/** What `listen` can be given. */
export type Options<E = Record<string, string>> = Callbacks<E> & Settings & Parsing<E>;

/** A stream that is listened to. */
export interface Stream {
  /** Ends it for good. Nothing is called any more. */
  close(): void;
}

/**
 * Listens to a stream, until it is closed. A lost one is opened again by itself, from where it was: after the time that the stream's
 * `retry` told (2 s) and up to half as much again, then twice that, and so on up to 30 s; never before a `Retry-After`; and at
 * once when the browser is online again.
 *
 * What a callback throws is an uncaught error, as of any listener, and the stream goes on behind that event.
 *
 * @param url of the stream; a page may give one that is relative to its own.
 * @throws TypeError if the URL is none.
 *
 * @example
 * listen<{ message: Progress; "notice:all": Notice }>("/events", {
 *   parse: JSON.parse,
 *   on: { message: show, "notice:all": notify },
 *   fresh: refetch,
 *   gap: refetch,
 *   denied: () => location.assign("/login"),
 * });
 */
export function listen<E = Record<string, string>>(url: string | URL, options?: Options<E>): Stream;
