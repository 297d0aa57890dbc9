"""Settings, all from the environment; every default is safe and makes the embedded portal of ``make run`` work.

``docs/operating.md`` lists the variables for people.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import django_stubs_ext
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured

from portal import embedded

django_stubs_ext.monkeypatch()  # generic Django classes can be written with their types

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str, default: bool) -> bool:
    """A yes-or-no environment variable: 1, true, yes and on are yes."""
    return os.environ.get(name, str(default)).strip().lower() in {"1", "true", "yes", "on"}


def names(name: str, default: str = "") -> list[str]:
    """A comma-separated environment variable."""
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def reach(name: str) -> str:
    """What of private networks may be reached, as ``portal.outbound`` takes it: nothing, "on", or what is named."""
    yes, no = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
    words = [word.lower() for word in names(name) if word.lower() not in no]
    try:
        return ",".join("on" if word in yes else str(ip_network(word)) for word in words)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} can be off, on, or name addresses and networks: {error}.") from None


PORTAL_HOME = Path(os.environ.get("PORTAL_HOME", BASE_DIR / "var")).resolve()
_home = embedded.Home(PORTAL_HOME)
_embedded_secrets = None if os.environ.get("SECRET_KEY") else embedded.load_secrets(_home)

if os.environ.get("DATABASE_URL") and not (os.environ.get("SECRET_KEY") and os.environ.get("PORTAL_FERNET_KEYS")):
    raise ImproperlyConfigured(
        "DATABASE_URL is set, so other machines may share the database: set SECRET_KEY and PORTAL_FERNET_KEYS as well, "
        "the same everywhere. Keys made here would be this machine's alone."
    )

DEBUG = False
SECRET_KEY = os.environ.get("SECRET_KEY") or (_embedded_secrets.secret_key if _embedded_secrets else "")
SITE_URL = os.environ.get("SITE_URL", "http://127.0.0.1:8000").rstrip("/")
SECURE = SITE_URL.startswith("https://")
ALLOWED_HOSTS = names("ALLOWED_HOSTS", f"127.0.0.1,localhost,[::1],{urlsplit(SITE_URL).hostname or ''}")
CSRF_TRUSTED_ORIGINS = names("CSRF_TRUSTED_ORIGINS", SITE_URL if SECURE else "")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "portal.admin_config.OperatorPages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "django_rq",
    "heroicons",
    "template_partials",
    "portal",
    "accounts",
    "workspaces",
    "clusters",
    "jobs",
    "notebooks",
    "billing",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "portal.middleware.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.sessions.SessionLimits",
    "accounts.middleware.Lockout",
    "accounts.middleware.NewTerms",
    "accounts.impersonation.ImpersonationMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.middleware.ErrorPages",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.tenant",
                "billing.banners.budgets",
            ],
            "builtins": ["portal.templatetags.marks"],
        },
    }
]

# --- data -----------------------------------------------------------------------------------------------------------

if os.environ.get("DATABASE_URL"):
    DATABASES: dict[str, Any] = {"default": dict(dj_database_url.parse(os.environ["DATABASE_URL"]))}
else:
    DATABASES = {"default": embedded.database_settings(_home)}
# Under ASGI each request may meet another thread, so connections live in a pool and not in threads.
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 12, "timeout": 10}
DATABASES["default"]["CONN_MAX_AGE"] = 0
# Asked for each connection that leaves the pool, so that a restart of the database costs no request.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

REDIS_URL = os.environ.get("REDIS_URL") or embedded.redis_url(_home)
RQ_QUEUES = {"default": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 600, "SERIALIZER": "rq.serializers.JSONSerializer"}}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "portal"}
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"
PORTAL_SESSION_DAYS = float(os.environ.get("PORTAL_SESSION_DAYS", "14"))
PORTAL_SESSION_IDLE_HOURS = float(os.environ.get("PORTAL_SESSION_IDLE_HOURS", "72"))
SESSION_COOKIE_AGE = int(PORTAL_SESSION_DAYS * 86400)

# Uploads are spooled on the disk where they will live: the machine's temporary directory is often memory.
FILE_UPLOAD_TEMP_DIR = PORTAL_HOME / "tmp"
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024 * 2
UPLOAD_GUARD = "workspaces.access.may_upload"
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = PORTAL_HOME / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 300

# --- people ---------------------------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_REDIRECT_URL = "home"
LOGIN_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_FORMS = {
    "login": "accounts.forms_signup.SignInForm",
    "signup": "accounts.forms_signup.SignupForm",
    "add_email": "accounts.forms_signup.AddAddressForm",
    "reset_password": "accounts.forms_signup.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms_signup.NewPasswordForm",
}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = False
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SECURE else "http"
USERSESSIONS_ADAPTER = "accounts.adapter.SessionsAdapter"
# Staff without a second factor gets no further than to making one. Only a portal that nobody else reaches does without.
PORTAL_STAFF_MFA = flag("PORTAL_STAFF_MFA", SECURE or bool(os.environ.get("DATABASE_URL")))
PORTAL_DORMANCY_DAYS = int(os.environ.get("PORTAL_DORMANCY_DAYS", "90"))
if not 1 <= PORTAL_DORMANCY_DAYS <= 36500:
    raise ImproperlyConfigured("PORTAL_DORMANCY_DAYS, after which an account is locked, must be from 1 to 36500.")
if PORTAL_SESSION_DAYS >= PORTAL_DORMANCY_DAYS:
    raise ImproperlyConfigured(
        "PORTAL_SESSION_DAYS must be less than PORTAL_DORMANCY_DAYS: only a sign-in keeps an account from being "
        "locked, so whoever works here every day has to sign in before that."
    )
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # clocks differ; a code is good for 90 s, once
MFA_ADAPTER = "accounts.second_factor.SecondFactorAdapter"
MFA_FORMS = {
    "authenticate": "accounts.forms_second_factor.AuthenticateForm",
    "reauthenticate": "accounts.forms_second_factor.ReauthenticateForm",
    "login_webauthn": "accounts.forms_second_factor.SignInWithPasskeyForm",
    "authenticate_webauthn": "accounts.forms_second_factor.AuthenticateWithPasskeyForm",
    "reauthenticate_webauthn": "accounts.forms_second_factor.ReauthenticateWithPasskeyForm",
    "add_webauthn": "accounts.forms_second_factor.AddPasskeyForm",
    "edit_webauthn": "accounts.forms_second_factor.RenamePasskeyForm",
}
ACCOUNT_EMAIL_NOTIFICATIONS = True
PORTAL_TOKENS_WITHOUT_EXPIRY = flag("PORTAL_TOKENS_WITHOUT_EXPIRY", False)
PORTAL_SIGNUP_OPEN = flag("PORTAL_SIGNUP_OPEN", True)
PORTAL_DEFAULT_HOURLY = Decimal(os.environ["PORTAL_DEFAULT_HOURLY"]) if "PORTAL_DEFAULT_HOURLY" in os.environ else None
"""US dollars for an hour of an instance whose type has no rate. None: such an instance cannot be started."""
PORTAL_IDLE_WARNING_MINUTES = int(os.environ.get("PORTAL_IDLE_WARNING_MINUTES", "10"))
"""How long before an idle cluster is paused or stopped its last user is told; 0 is never."""
if not 0 <= PORTAL_IDLE_WARNING_MINUTES <= 1440:
    raise ImproperlyConfigured("PORTAL_IDLE_WARNING_MINUTES, before an idle cluster is paused, must be from 0 to 1440.")
PORTAL_TERMS_VERSION = os.environ.get("PORTAL_TERMS_VERSION", "2026-11-01")
PORTAL_TERMS_URL = os.environ.get("PORTAL_TERMS_URL", "")
ACCOUNT_RATE_LIMITS = {  # beside allauth's own
    "activation": "6/h/key,20/m/ip",
    "marketplace": "30/m/ip",
    "sso": "30/m/ip",
    "invite": "500/h/key",  # by organization
    "invited": "5/h/key",  # by address, whoever invites it
    "alarm_endpoint": "5/d/key",  # by address, whichever alarm asks it
    "alarm_endpoints": "100/d/key",  # by organization
    "snooze_link": "60/m/ip",
    "snooze": "20/h/key",  # by cluster, by links in mails
}

# Who answers for AWS Marketplace: nobody, AWS, or the sandbox, in which anybody may try the registration.
PORTAL_MARKETPLACE = os.environ.get(
    "PORTAL_MARKETPLACE", "off" if os.environ.get("DATABASE_URL") or SECURE else "sandbox"
)
PORTAL_MARKETPLACE_PRODUCT_CODES = names("PORTAL_MARKETPLACE_PRODUCT_CODES")
# Products sold as contracts: AWS is asked what each customer is entitled to, and until when.
PORTAL_MARKETPLACE_CONTRACT_CODES = names("PORTAL_MARKETPLACE_CONTRACT_CODES")
# What usage is called there, and the US dollars that one unit of it stands for. Without a name, nothing is reported.
PORTAL_MARKETPLACE_DIMENSION = os.environ.get("PORTAL_MARKETPLACE_DIMENSION", "usd_cents")
PORTAL_MARKETPLACE_UNIT = Decimal(os.environ.get("PORTAL_MARKETPLACE_UNIT", "0.01"))
# The SQS queue into which AWS Marketplace's notifications come.
PORTAL_MARKETPLACE_QUEUE_URL = os.environ.get("PORTAL_MARKETPLACE_QUEUE_URL", "")
PORTAL_MARKETPLACE_REGION = os.environ.get("PORTAL_MARKETPLACE_REGION", "us-east-1")
if PORTAL_MARKETPLACE not in {"off", "aws", "sandbox"}:
    raise ImproperlyConfigured(f"PORTAL_MARKETPLACE is {PORTAL_MARKETPLACE!r}; it can be off, aws or sandbox.")
if PORTAL_MARKETPLACE == "aws" and not PORTAL_MARKETPLACE_PRODUCT_CODES:
    raise ImproperlyConfigured("PORTAL_MARKETPLACE is aws: set PORTAL_MARKETPLACE_PRODUCT_CODES to what is sold there.")

if not Decimal("0.000001") <= PORTAL_MARKETPLACE_UNIT <= 100:
    raise ImproperlyConfigured("PORTAL_MARKETPLACE_UNIT is US dollars for one unit, from 0.000001 to 100.")
if set(PORTAL_MARKETPLACE_CONTRACT_CODES) - set(PORTAL_MARKETPLACE_PRODUCT_CODES):
    raise ImproperlyConfigured("PORTAL_MARKETPLACE_CONTRACT_CODES names products that are not in the product codes.")

EMAIL_HOST = os.environ.get("EMAIL_HOST", "")
EMAIL_PORT = int(os.environ.get("EMAIL_PORT", "587"))
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = flag("EMAIL_USE_TLS", True)
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "Bodo Cloud Platform <portal@localhost>")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend" if EMAIL_HOST else "django.core.mail.backends.filebased.EmailBackend"
)
EMAIL_FILE_PATH = PORTAL_HOME / "mail"
MESSAGE_TAGS = {messages.ERROR: "error"}

# --- notebooks -------------------------------------------------------------------------------------------------------

# The host (and port) of the notebooks, and of nothing else: what runs in a notebook's page must not be able to act on
# the portal as its viewer. By default another name of this machine, which browsers know without asking anybody (and
# not `localhost` itself: passkeys need that one for the portal). Empty: there are no notebooks.
_site = urlsplit(SITE_URL)
_other_name = "notebooks.localhost" if _site.hostname in {"127.0.0.1", "localhost"} else ""
PORTAL_NOTEBOOK_HOST = os.environ.get(
    "PORTAL_NOTEBOOK_HOST", f"{_other_name}:{_site.port}" if _other_name and _site.port else _other_name
).lower()
if urlsplit(f"//{PORTAL_NOTEBOOK_HOST}").hostname == _site.hostname:
    raise ImproperlyConfigured(
        "PORTAL_NOTEBOOK_HOST must be another host name than that of SITE_URL; another port is not enough, since "
        "browsers share cookies among the ports of a host."
    )
PORTAL_NOTEBOOK_ORIGIN = f"{_site.scheme}://{PORTAL_NOTEBOOK_HOST}" if PORTAL_NOTEBOOK_HOST else ""
PORTAL_NOTEBOOK_IDLE_MINUTES = int(os.environ.get("PORTAL_NOTEBOOK_IDLE_MINUTES", "60"))
PORTAL_NOTEBOOK_AT_ENTRY = flag("PORTAL_NOTEBOOK_AT_ENTRY", True)
NOTEBOOK_PROXY = "notebooks.proxy.application"

# --- browser fences -------------------------------------------------------------------------------------------------

# With the prefix, browsers refuse such a cookie from a sibling host name, and over http.
SESSION_COOKIE_NAME = "__Host-sessionid" if SECURE else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if SECURE else "csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = SECURE and flag("SECURE_SSL_REDIRECT", True)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if flag("BEHIND_TLS_PROXY", False) else None
SECURE_HSTS_SECONDS = 31536000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    f"connect-src 'self'; form-action 'self' {PORTAL_NOTEBOOK_ORIGIN}; frame-ancestors 'none'; base-uri 'none'"
)
PERMISSIONS_POLICY = (
    "publickey-credentials-create=(self), publickey-credentials-get=(self), camera=(), display-capture=(), "
    "geolocation=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()"
)
CSRF_FAILURE_VIEW = "portal.views.csrf_failure"

# --- the LOCAL cloud ------------------------------------------------------------------------------------------------

PORTAL_LOCAL_CLOUD = flag("PORTAL_LOCAL_CLOUD", True)
PORTAL_LOCAL_CAPACITY = float(os.environ.get("PORTAL_LOCAL_CAPACITY", "1"))
_reserve = os.environ.get("PORTAL_LOCAL_DISK_RESERVE")
PORTAL_LOCAL_DISK_RESERVE = None if _reserve is None else int(_reserve) << 20
PORTAL_LOCAL_LOG_LIMIT = int(os.environ.get("PORTAL_LOCAL_LOG_LIMIT", "2048")) << 20
PORTAL_LOCAL_ROOTS = [Path(path) for path in names("PORTAL_LOCAL_ROOTS", str(PORTAL_HOME / "local"))]
PORTAL_MACHINE_ROOT = Path(os.environ.get("PORTAL_MACHINE_ROOT", PORTAL_HOME / "machine"))

# --- the AWS cloud --------------------------------------------------------------------------------------------------

PORTAL_AWS_ENDPOINT = os.environ.get("PORTAL_AWS_ENDPOINT", "").rstrip("/")
"""What stands for AWS instead of its own addresses."""
PORTAL_AWS = flag("PORTAL_AWS", bool(PORTAL_AWS_ENDPOINT))
"""Whether cloud configurations on AWS can be made."""
PORTAL_AWS_ACCOUNT = os.environ.get("PORTAL_AWS_ACCOUNT", "")
"""The portal's own account, to which customers lend their role. Without it, AWS is asked."""
PORTAL_AWS_TEMPLATE_URL = os.environ.get("PORTAL_AWS_TEMPLATE_URL", "")
"""Where in S3 the operator published what ``manage.py aws_template`` prints."""
if PORTAL_AWS_ENDPOINT and not re.fullmatch(r"https?://[^/\s@]+", PORTAL_AWS_ENDPOINT):
    raise ImproperlyConfigured("PORTAL_AWS_ENDPOINT is an address such as http://127.0.0.1:5000, without a path.")
if PORTAL_AWS_ACCOUNT and not re.fullmatch(r"\d{12}", PORTAL_AWS_ACCOUNT, re.ASCII):
    raise ImproperlyConfigured("PORTAL_AWS_ACCOUNT is the twelve digits of the portal's own AWS account.")
if PORTAL_AWS_TEMPLATE_URL and not re.fullmatch(
    r"https://[a-z0-9.-]+\.amazonaws\.com/[^\s?#]+", PORTAL_AWS_TEMPLATE_URL
):
    raise ImproperlyConfigured(
        "PORTAL_AWS_TEMPLATE_URL has to be an object in S3 (https://BUCKET.s3.REGION.amazonaws.com/NAME): AWS opens no "
        "other templates."
    )

# --- what people may have the portal reach ----------------------------------------------------------------------------

PORTAL_PRIVATE_ADDRESSES = reach("PORTAL_PRIVATE_ADDRESSES")
PORTAL_SOURCE_LIMIT_MB = int(os.environ.get("PORTAL_SOURCE_LIMIT_MB", "512"))
PORTAL_S3_ENDPOINT = os.environ.get("PORTAL_S3_ENDPOINT", "")
CATALOG_ENDPOINTS: dict[str, str] = {}  # by kind, for tests: where a server of their own stands for the service

# --- the rest -------------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
FORMAT_MODULE_PATH: list[str] = []
SILENCED_SYSTEM_CHECKS: list[str] = []

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "INFO")},
    "loggers": {"rq.worker": {"level": "WARNING"}, "django.request": {"level": "ERROR"}},
}
