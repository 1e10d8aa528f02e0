// Why a song has no answer, in words of a listener; what the server says is a detail.

const minutes = seconds => seconds < 120 ? `${Math.floor(seconds)} seconds` : `${Math.floor(seconds / 60)} minutes`;
const UNPLAYABLE = "This file cannot be played. It may be no song, or damaged; mp3, m4a, wav, flac and ogg work.";
const TOO_MUCH = "This song is too much work for the server. Try a shorter part of it.";

const REASONS = {
  corrupt_audio: () => UNPLAYABLE,
  decoder_crashed: () => UNPLAYABLE,
  empty_audio: () => "There is no sound in this file.",
  truncated_audio: () => "The end of this file is missing. Get the song again.",
  too_short: model => `This song is too short. It needs ${Math.ceil(10 * model.window_seconds) / 10} seconds or more.`,
  too_long: model => `This song is too long. It may last up to ${minutes(model.longest_seconds)}.`,
  too_large: model => `This file is too large. It may have up to ${Math.round(model.most_bytes / 2 ** 20)} MiB; an mp3 is smaller.`,
  timeout: () => TOO_MUCH,
  out_of_memory: () => TOO_MUCH,
  slow_upload: () => "The song did not arrive in time. Try again with a faster connection.",
  busy: () => "Too many songs at once. Try again in a moment.",
  disk_full: () => "The server has no room for the song now. Try again later.",
  internal: () => "Something went wrong in the server; it is not the song's fault.",
};

export class Refusal extends Error {
  constructor({error, message}) {
    super(message);
    this.reason = error;
  }
}

// A sentence for whoever sent the song, and what the server said where that is another one.
export function explain(error, model) {
  const words = REASONS[error.reason]?.(model);
  const said = `No answer: ${error.message.replace(/\.$/, "")}.`;
  return words ? {words, detail: error.message} : {words: said, detail: ""};
}
