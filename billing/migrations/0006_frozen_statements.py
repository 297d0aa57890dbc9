"""A statement that is closed is never changed, and gets no further lines."""

from django.db import migrations

FROZEN = """
CREATE FUNCTION billing_statement_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Statements are frozen: % of % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Usage that was repaired is corrected by the next statement.';
END $$;

CREATE FUNCTION billing_statement_line_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT closed_at FROM billing_statement WHERE id = NEW.statement_id) IS NOT NULL THEN
        RAISE EXCEPTION 'Statements are frozen: a line for one that is closed is refused.'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Usage that was repaired is corrected by the next statement.';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER statement_frozen BEFORE UPDATE ON billing_statement
    FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION billing_statement_refuse();
CREATE TRIGGER statement_kept BEFORE DELETE ON billing_statement
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_refuse();
CREATE TRIGGER statement_line_frozen BEFORE UPDATE OR DELETE ON billing_statementline
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_refuse();
CREATE TRIGGER statement_not_emptied BEFORE TRUNCATE ON billing_statement
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_refuse();
CREATE TRIGGER statement_not_emptied BEFORE TRUNCATE ON billing_statementline
    FOR EACH STATEMENT EXECUTE FUNCTION billing_statement_refuse();
CREATE TRIGGER statement_line_added BEFORE INSERT ON billing_statementline
    FOR EACH ROW EXECUTE FUNCTION billing_statement_line_added();
"""

NOT_FROZEN = """
DROP TRIGGER statement_line_added ON billing_statementline;
DROP TRIGGER statement_not_emptied ON billing_statementline;
DROP TRIGGER statement_not_emptied ON billing_statement;
DROP TRIGGER statement_line_frozen ON billing_statementline;
DROP TRIGGER statement_kept ON billing_statement;
DROP TRIGGER statement_frozen ON billing_statement;
DROP FUNCTION billing_statement_line_added();
DROP FUNCTION billing_statement_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_statements")]

    operations = [migrations.RunSQL(FROZEN, NOT_FROZEN)]
