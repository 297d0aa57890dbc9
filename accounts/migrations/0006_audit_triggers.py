"""The database itself seals audit events at the commit, and refuses to change them.

Sealing has two steps. When the transaction commits, each of its events is put on a list of those that wait; inserting
there queues the trigger that seals, behind all that the commit has still to check. So the locks on chains are the last
that a transaction takes: it waits for nothing while it has them, and takes them in one order, so they cannot be part
of a deadlock. The list has only rows of transactions that are being committed.
"""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION accounts_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log can only be added to: % of % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'To correct an event, record another one.';
END $$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditseal
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();

CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();

CREATE TRIGGER audit_not_emptied BEFORE TRUNCATE ON accounts_auditseal
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_audit_refuse();

CREATE TRIGGER audit_sealed_by_the_database BEFORE INSERT ON accounts_auditseal
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION accounts_audit_refuse();
"""

NO_APPEND_ONLY = """
DROP TRIGGER audit_sealed_by_the_database ON accounts_auditseal;
DROP TRIGGER audit_not_emptied ON accounts_auditseal;
DROP TRIGGER audit_not_emptied ON accounts_auditevent;
DROP TRIGGER audit_append_only ON accounts_auditseal;
DROP TRIGGER audit_append_only ON accounts_auditevent;
DROP FUNCTION accounts_audit_refuse();
"""

SEALS = """
CREATE TABLE accounts_auditwaiting (
    transaction xid8 NOT NULL,
    event bigint NOT NULL,
    PRIMARY KEY (transaction, event)
);

CREATE FUNCTION accounts_audit_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts_auditwaiting VALUES (pg_current_xact_id(), NEW.number);
    RETURN NULL;
END $$;

CREATE FUNCTION accounts_audit_chain(organization uuid) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(organization, '00000000-0000-0000-0000-000000000000')
$$;

CREATE FUNCTION accounts_audit_canonical(sequence bigint, event accounts_auditevent) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_array(
        sequence, event.number, to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        event.organization_id, event.actor_kind, event.actor_user_id, event.actor_label, event.verb,
        event.object_type, event.object_id, event.object_label, event.address, event.detail
    )::text
$$;

CREATE FUNCTION accounts_audit_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own CONSTANT xid8 := pg_current_xact_id();
    this uuid;
    waiting record;
    place bigint;
    link text;
    newer text;
BEGIN
    -- The first of a transaction's rows that gets here seals all of them; the others find nothing left.
    FOR this IN
        SELECT DISTINCT accounts_audit_chain(event.organization_id)
        FROM accounts_auditwaiting AS list JOIN accounts_auditevent AS event ON event.number = list.event
        WHERE list.transaction = own ORDER BY 1
    LOOP
        PERFORM pg_advisory_xact_lock(hashtextextended('accounts_auditseal ' || this, 0));
    END LOOP;
    this := NULL;
    FOR waiting IN
        WITH list AS (DELETE FROM accounts_auditwaiting WHERE transaction = own RETURNING event)
        SELECT accounts_audit_chain(row.organization_id) AS chain, row AS event
        FROM list JOIN accounts_auditevent AS row ON row.number = list.event ORDER BY 1, list.event
    LOOP
        IF this IS DISTINCT FROM waiting.chain THEN
            this := waiting.chain;
            SELECT sequence, hash INTO place, link FROM accounts_auditseal
                WHERE chain = this ORDER BY sequence DESC LIMIT 1;
            IF NOT FOUND THEN
                place := 0;
                link := repeat('0', 64);
            END IF;
        END IF;
        place := place + 1;
        newer := encode(sha256(convert_to(link || accounts_audit_canonical(place, waiting.event), 'UTF8')), 'hex');
        INSERT INTO accounts_auditseal (event_id, chain, sequence, previous, hash)
            VALUES ((waiting.event).number, this, place, link, newer);
        link := newer;
    END LOOP;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER audit_wait AFTER INSERT ON accounts_auditevent
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION accounts_audit_wait();

CREATE CONSTRAINT TRIGGER audit_seal AFTER INSERT ON accounts_auditwaiting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION accounts_audit_seal();
"""

NO_SEALS = """
DROP TRIGGER audit_wait ON accounts_auditevent;
DROP TABLE accounts_auditwaiting;
DROP FUNCTION accounts_audit_seal();
DROP FUNCTION accounts_audit_canonical(bigint, accounts_auditevent);
DROP FUNCTION accounts_audit_chain(uuid);
DROP FUNCTION accounts_audit_wait();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_audit_seals")]

    operations = [
        migrations.RunSQL(SEALS, NO_SEALS),
        migrations.RunSQL(APPEND_ONLY, NO_APPEND_ONLY),
    ]
