// Which key was meant, on keyboards whose letters are not Latin or whose digits need the shift key.

const MARKS = { Comma: ",", Period: ".", BracketLeft: "[", BracketRight: "]", Equal: "=" };

/** The key as our lists name it: by what it writes, or by where it lies when that is nothing of ours. */
export function meant(event) {
  const { key, code } = event;
  if (key.length !== 1) return key;
  if (/^[a-z0-9 ]$/i.test(key)) return key.toLowerCase();
  if (!event.shiftKey && /^Digit[0-9]$/.test(code)) return code.slice(5); // unshifted French, Czech and others
  if (key.charCodeAt(0) < 128) return key;
  return /^Key[A-Z]$/.test(code) ? code.slice(3).toLowerCase() : (MARKS[code] ?? key);
}

/** Whether Enter or space is for the button that was reached by the Tab key, and no word for the page. */
export const pressing = (event) => (event.key === "Enter" || event.key === " ") && event.target.matches?.("button:focus-visible, a:focus-visible, summary:focus-visible");
