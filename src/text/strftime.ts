// Python's strftime in English, for the dates in chat templates. In: a date and a format such as `%d %b %Y`. Out: text. The library's
// own depends on the machine's language and knows seven codes.

const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** In local time, as datetime.now() has it. Codes that are not known stay as they are. */
export function strftime(date: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const [month, day] = [months[date.getMonth()] as string, days[date.getDay()] as string];
  const hour12 = date.getHours() % 12 || 12;
  const start = Date.UTC(date.getFullYear(), 0, 0);
  const dayOfYear = (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - start) / 86_400_000;
  const codes: Readonly<Record<string, string | number>> = {
    a: day.slice(0, 3),
    A: day,
    b: month.slice(0, 3),
    B: month,
    d: two(date.getDate()),
    "-d": date.getDate(),
    e: String(date.getDate()).padStart(2),
    F: `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`,
    H: two(date.getHours()),
    I: two(hour12),
    j: String(dayOfYear).padStart(3, "0"),
    m: two(date.getMonth() + 1),
    "-m": date.getMonth() + 1,
    M: two(date.getMinutes()),
    p: date.getHours() < 12 ? "AM" : "PM",
    S: two(date.getSeconds()),
    T: `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`,
    w: date.getDay(),
    y: two(date.getFullYear() % 100),
    Y: date.getFullYear(),
    "%": "%",
  };
  return format.replace(/%(-?[A-Za-z%])/g, (whole, code: string) => (Object.hasOwn(codes, code) ? String(codes[code]) : whole));
}
