// The token, once for each browser.
import { post } from '../api.js';
import { h } from '../dom.js';
import { t } from '../i18n.js';

export function login(enter) {
  const field = h('input', { type: 'password', required: true, autocomplete: 'current-password', id: 'token', maxlength: 200 });
  const said = h('p.bad', { role: 'alert' });
  const form = h('form.card', { onsubmit: async (event) => {
    event.preventDefault();
    said.textContent = '';
    try {
      await post('login', { token: field.value.trim() });
      enter();
    } catch (error) {
      said.textContent = error.code === 'too-many-tries' ? t('login.wait') : t('login.wrong');
      field.select();
    }
  } },
    h('img', { src: '/favicon.svg', alt: '', width: 48, height: 48 }),
    h('h1', {}, t('login.title')),
    h('label', { for: 'token' }, t('login.token')), field, said,
    h('button.primary', {}, t('login.enter')),
    h('p.muted', {}, t('login.hint')));
  return h('div.login', {}, form);
}
