import { t } from '../i18n/text.js';
import { CHOSEN_ROLES, roleKey, type ChosenRole, type Role } from './permissions.js';

interface Props {
  readonly label: string;
  readonly role: Role;
  readonly canBan?: boolean;
  readonly onChange: (role: ChosenRole) => void;
}

/** What somebody may do, in words. */
export function RoleSelect({ label, role, canBan = false, onChange }: Props) {
  const roles = CHOSEN_ROLES.filter((one) => canBan || one !== 'banned');
  return (
    <select
      class="input select"
      aria-label={label}
      value={role}
      onChange={(event) => {
        onChange(event.currentTarget.value as ChosenRole);
      }}
    >
      {role === 'custom' && (
        <option value="custom" disabled>
          {t('role.custom')}
        </option>
      )}
      {roles.map((one) => (
        <option key={one} value={one}>
          {t(roleKey(one))}
        </option>
      ))}
    </select>
  );
}
