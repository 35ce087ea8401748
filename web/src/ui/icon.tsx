// The page's pictures: a few strokes each, drawn in the colour of the text. They say nothing to screen readers; the button around one has a name.

const shapes = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  chat: "M5 5h14v11H10l-5 4z",
  runs: "M4 19h16M6 15l4-5 3 3 5-7",
  lab: "M9 4h6M10 4v6l-5 9h14l-5-9V4",
  tune: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  retry: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  edit: "M5 19h4L19 9l-4-4L5 15z",
  bin: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  check: "M5 13l4 4L19 7",
  down: "M6 10l6 6 6-6",
  out: "M12 15V4M8 8l4-4 4 4M5 14v5h14v-5",
  in: "M12 4v11M8 11l4 4 4-4M5 14v5h14v-5",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 17.500v.5",
  wait: "M12 7v5l3 3M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18",
} as const;

export type IconName = keyof typeof shapes;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={shapes[name]} />
    </svg>
  );
}
