// Icons as SVG paths on a grid of 24, drawn with the text's colour.
import { svg } from './dom.js';

const PATHS = {
  watch: 'M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z',
  teach: 'M12 4 2 9l10 5 10-5-10-5zM6 11.5V16c0 1.5 3 3 6 3s6-1.500 6-3v-4.500M22 9v6',
  review: 'M4 5h16M4 12h10M4 19h7M16 17l2.500 2.500L22.500 14',
  gallery: 'M3 4h8v7H3zM13 4h8v7h-8zM3 13h8v7H3zM13 13h8v7h-8z',
  calibrate: 'M4 7h9M19 7h1M4 17h1M11 17h9M16 4.500v5M8 14.500v5',
  health: 'M3 12h4l2.500-6 4.500 12 2.500-6H21',
  undo: 'M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3',
  record: 'M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14z',
  region: 'M5 3v16h16M3 5h16v16',
  play: 'M7 4.500v15l12-7.500z',
  pause: 'M8 5v14M16 5v14',
  next: 'M9 5l7 7-7 7',
  back: 'M15 5l-7 7 7 7',
  close: 'M6 6l12 12M18 6 6 18',
  check: 'M4 12.500l5.500 5.500L20 7',
  warn: 'M12 3 2 20h20L12 3zM12 10v4.500M12 17.300v.2',
  none: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM6.500 17.500l11-11',
  skip: 'M5 5l8 7-8 7zM18 5v14',
  why: 'M9 9a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.200-1.500 2.400M12 17.300v.2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13',
  edit: 'M4 20h4L19 9l-4-4L4 16zM13 7l4 4',
  merge: 'M6 4v4c0 4 6 4 6 8v4M18 4v4c0 4-6 4-6 8',
  move: 'M4 12h15M13 6l6 6-6 6',
  out: 'M12 15V4M7 8.500 12 4l5 4.500M4 15v5h16v-5',
  in: 'M12 4v11M7 10.500l5 4.500 5-4.500M4 15v5h16v-5',
  theme: 'M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z',
  upload: 'M12 16V5M7 9.500 12 5l5 4.500M4 19h16',
  camera: 'M3 8h4l2-3h6l2 3h4v11H3zM12 10a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7z',
  lock: 'M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5',
  plus: 'M12 5v14M5 12h14',
};

export function icon(name) {
  const path = svg('path', { d: PATHS[name] });
  const filled = name === 'record' || name === 'play';
  return svg('svg.icon' + (filled ? '.filled' : ''), { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, path);
}
