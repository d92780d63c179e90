import mark from '../favicon.svg';

export function Logo() {
  return <img class="logo" src={mark} alt="" width={40} height={40} />;
}
