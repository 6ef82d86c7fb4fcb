// Words in the reader's language: one flat file each. A missing word is shown in English.

const LANGUAGES = { en: 'English', de: 'Deutsch', zh: '中文' };
let words = {};
let english = {};
let code = 'en';

export const languages = LANGUAGES;
export const language = () => code;

export async function load(wanted = localStorage.getItem('maclip.language') || browser()) {
  code = LANGUAGES[wanted] ? wanted : 'en';
  [english, words] = await Promise.all([fetched('en'), fetched(code)]);
  document.documentElement.lang = code;
}

export async function choose(wanted) {
  localStorage.setItem('maclip.language', wanted);
  await load(wanted);
}

/** t('teach.kept', {name: 'waving', n: 3}); with n, the key's plural form `.one` is used where there is one. */
export function t(key, values = {}) {
  const plural = values.n === undefined ? key : `${key}.${new Intl.PluralRules(code).select(values.n)}`;
  const text = words[plural] ?? words[key] ?? english[plural] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

function browser() {
  return (navigator.language || 'en').slice(0, 2).toLowerCase();
}

async function fetched(name) {
  const answer = await fetch(`/page/lang/${name}.json`);
  return answer.json();
}
