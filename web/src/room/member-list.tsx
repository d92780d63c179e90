import { useState } from 'preact/hooks';
import type { Room } from '../../../src/client/index.js';
import { nameOf, useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { Avatar } from '../ui/avatar.js';
import { Confirm } from '../ui/dialog.js';
import { IconButton } from '../ui/icon.js';
import { useToasts } from '../ui/toasts.js';
import { LETTERS, roleKey, roleOf } from './permissions.js';
import { RoleSelect } from './role-select.js';
import type { Member, Members } from './use-members.js';

interface Props {
  readonly room: Room;
  readonly members: Members;
  readonly isAdmin: boolean;
}

/** Who may do what in a room. */
export function MemberList({ room, members, isAdmin }: Props) {
  return (
    <section aria-labelledby="members-title">
      <h3 id="members-title">{t('details.members')}</h3>
      {members.rows === undefined ? (
        <div class="skeleton-room" aria-busy="true" />
      ) : (
        <ul class="members">
          {members.rows.map((member) => (
            <MemberItem key={member.entity_UUID} room={room} member={member} isAdmin={isAdmin} />
          ))}
        </ul>
      )}
      {members.hasMore && (
        <button class="button wide" type="button" onClick={members.loadMore}>
          {t('details.more')}
        </button>
      )}
    </section>
  );
}

interface ItemProps {
  readonly room: Room;
  readonly member: Member;
  readonly isAdmin: boolean;
}

function MemberItem({ room, member, isAdmin }: ItemProps) {
  const { chat, session } = useChat();
  const { fail } = useToasts();
  const [isRemoving, setIsRemoving] = useState(false);
  const { entity_UUID: uuid, permissions, level, accepted } = member;
  const isOwn = uuid === session.userUUID;
  const isEntity = uuid === chat.user?.entityUUID && !isOwn;
  const name = isEntity ? t('user.organisation') : nameOf(uuid, { ...member, userUUID: uuid });
  const path = `/rooms/${room.id}/members`;
  const role = roleOf(permissions);

  return (
    <li class="member">
      <Avatar id={uuid} name={name} picture={member.picture} isOnline={room.online.has(uuid)} />
      <div class="member-text">
        <span class="member-line">
          <span class="member-name">{isOwn ? t('details.you', { name }) : name}</span>
          {!accepted && <span class="tag">{t('details.pending')}</span>}
        </span>
        {(!isAdmin || isOwn) && <span class="muted small">{t(roleKey(role))}</span>}
        {isAdmin && !isOwn && (
          <RoleSelect
            label={t('details.roleOf', { name })}
            role={role}
            canBan
            onChange={(chosen) => {
              const rule = { userUUID: uuid, permissions: LETTERS[chosen], level };
              chat.request('PUT', path, rule).catch(fail);
            }}
          />
        )}
      </div>
      {isAdmin && !isOwn && (
        <IconButton
          icon="close"
          label={t('details.remove', { name })}
          onClick={() => {
            setIsRemoving(true);
          }}
        />
      )}
      {isRemoving && (
        <Confirm
          title={t('details.removeTitle', { name })}
          text={t('details.removeText')}
          action={t('details.removeSubmit')}
          onConfirm={() => {
            chat.request('DELETE', `${path}/${uuid}`).catch(fail);
          }}
          onClose={() => {
            setIsRemoving(false);
          }}
        />
      )}
    </li>
  );
}
