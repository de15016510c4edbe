/**
 * A command line → words, as a shell would split it. Pure.
 */

/** The words; undefined when a quote is not closed. Nothing is filled in or expanded. */
export function wordsOf(line: string): readonly string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const char = line.charAt(at);
    if (quote === "'") {
      if (char === "'") quote = "";
      else word += char;
    } else if (char === "\\" && (quote === "" || /["\\$`\n]/.test(line.charAt(at + 1)))) {
      at++;
      if (at >= line.length) return undefined;
      if (line.charAt(at) !== "\n") word = (word ?? "") + line.charAt(at);
    } else if (quote === '"') {
      if (char === '"') quote = "";
      else word += char;
    } else if (char === "'" || char === '"') {
      quote = char;
      word ??= "";
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === "#" && word === undefined) {
      // The rest of the line is a comment.
      while (at + 1 < line.length && line.charAt(at + 1) !== "\n") at++;
    } else word = (word ?? "") + char;
  }
  if (quote !== "") return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
