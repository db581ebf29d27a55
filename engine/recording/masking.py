"""Secrets in command lines and run configurations, masked before anything is written.

Masked: values of options and variables whose *name* says secret (`--password x`, `API_KEY=x`), passwords
inside URLs, bearer and basic headers, tokens of a known form (cloud keys, forges, chat, model hubs), short
options of programs known to take a password there (`mysql -pSECRET`), private key blocks.
Not masked, on purpose: paths, host names, plain hexadecimal hashes (a git commit, an image digest), UUIDs,
numbers - a command line without them explains nothing, and none of them opens a door by itself. Names that
point at a secret but are not one (`--password-file F`, `--token-path F`, `max_tokens=512`) keep their value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"
MAX_CHARS = 512

_NAME = (
    r"(?:pass(?:wd|word|phrase|code)?|pwd|secret|token|api[-_]?key|apikey|access[-_]?key|auth[-_]?key"
    r"|account[-_]?key|private[-_]?key|signing[-_]?key|encryption[-_]?key|shared[-_]?key|master[-_]?key"
    r"|credentials?|auth|authorization|bearer|jwt|cookie|session[-_]?id|sas|dsn|webhook|otp|pin"
    r"|requirepass|masterauth|client[-_]?secret|license[-_]?key|ssh[-_]?key"
    r"|secret[-_]?(?:key|id|access[-_]?key)|(?:access|auth|refresh|id|bearer)[-_]?token|(?:store|key)pass"
    r"|(?:openai|anthropic|gemini|wandb|hf|nvidia|ngc|comet|cohere|mistral|groq|replicate)[-_]?key)"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'&;,]+)"

_ASSIGN = re.compile(
    rf"(?i)(?<![a-z0-9])((?:[a-z0-9]+[-_.])*{_NAME}(?:[-_]?\d+)?)(\"?'?\]?\s?[=:]\s?)(?!//)({_VALUE})"
)
"""`PGPASSWORD=x`, `--token=x`, `api_key: x`, `"password": "x"`, `wandb.api_key=x`, `e["API_KEY"]="x"`."""
_JOINED = re.compile(
    r"(?<![A-Za-z0-9])([A-Za-z][A-Za-z0-9_.]*(?:PASSWORD|PASSWD|SECRET|TOKEN|APIKEY|PWD|PASS"
    r"|Password|Passwd|Passphrase|Secret|Token|ApiKey|AccessKey|SecretKey))=(\S+)"
)
"""Names run together, as in PGPASSWORD, MYSQL_PWD, SSHPASS, keyStorePassword."""
_OPTION = re.compile(rf"(?i)(?<!\S)(--?(?:[a-z0-9]+[-_])*{_NAME})(\s+)(?!-)({_VALUE})")
"""`--password x`, `-token x`. (`--password -v`: the next option is not its value.)"""
_FLAGS = frozenset(("auth", "pin", "session-id", "pass"))
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s/@:?#\"']*)(?::([^\s/\"']*))?@(?=[^\s/])")
_QUERY = re.compile(
    r"(?i)([?&](?:sig|signature|key|token|access_token|x-amz-signature|x-amz-security-token|x-goog-signature"
    r"|api_?key|code|password|secret|auth)=)([^&\s\"'#]+)"
)
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-api-key|x-auth-token|x-vault-token|private-token|cookie|api-key)"
    r"(\s*[:=]\s*)(?:(bearer|basic|token|digest|apikey)\s+)?([^\s\"']+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)([A-Za-z0-9._~+/=-]{8,})")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S)
_REFERENCE = re.compile(
    r"\$\{?[A-Z_][A-Z0-9_]*\}?\Z|\$\(|(?:file:|env:|@?(?:~|\.\.?)?/)[\w.-]+(?:/[\w.@-]+)+/?\Z"
)
"""`$TOKEN`, `$(cat f)`, `/run/secrets/x`, `file:/etc/x`: where the secret is, not the secret."""
_NUMBER = re.compile(r"\d{1,9}(?:\.\d+)?\Z")

_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(
        (
            r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",  # AWS key ids
            r"AIza[A-Za-z0-9_-]{35}",  # Google API
            r"ya29\.[A-Za-z0-9_-]{10,}",  # Google OAuth
            r"GOCSPX-[A-Za-z0-9_-]{10,}",  # Google client secret
            r"hf_[A-Za-z0-9]{16,}",  # Hugging Face
            r"api_org_[A-Za-z0-9]{16,}",
            r"gh[pousr]_[A-Za-z0-9]{16,}",  # GitHub
            r"github_pat_[A-Za-z0-9_]{20,}",
            r"gl(?:pat|dt|rt|cbt|ptt|soat|agent)-[A-Za-z0-9_.-]{16,}",  # GitLab
            r"xox[abeoprs]-[A-Za-z0-9-]{8,}",  # Slack
            r"xapp-[A-Za-z0-9-]{8,}",
            r"sk-(?:ant-|proj-|svcacct-|or-|lf-)?[A-Za-z0-9_-]{16,}",  # OpenAI and others of that form
            r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
            r"whsec_[A-Za-z0-9]{16,}",
            r"wandb_v1_[A-Za-z0-9_]{16,}",  # W&B
            r"nvapi-[A-Za-z0-9_-]{16,}",  # NVIDIA
            r"gsk_[A-Za-z0-9]{16,}",  # Groq
            r"r8_[A-Za-z0-9]{16,}",  # Replicate
            r"npm_[A-Za-z0-9]{20,}",
            r"pypi-[A-Za-z0-9_-]{16,}",
            r"dckr_pat_[A-Za-z0-9_-]{16,}",
            r"do[opr]_v1_[a-f0-9]{20,}",  # DigitalOcean
            r"dapi[a-f0-9]{32}(?:-\d)?",  # Databricks
            r"hv[sbr]\.[A-Za-z0-9_-]{16,}",  # Vault
            r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
            r"(?:tfe?|atlasv1)\.[A-Za-z0-9_-]{40,}",
            r"lin_api_[A-Za-z0-9]{16,}",
            r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",  # JWT
            r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
            r"tskey-[a-z]+-[A-Za-z0-9-]{10,}",  # Tailscale
        )
    )
    + r")"
)
_ATTACHED = {
    "mysql": "-p", "mysqldump": "-p", "mysqladmin": "-p", "mariadb": "-p", "mariadb-dump": "-p",
    "mysqlimport": "-p", "sshpass": "-p", "7z": "-p", "7za": "-p", "7zz": "-p", "unrar": "-p", "rar": "-p",
}  # fmt: skip
"""Programs whose short option takes a password right behind it."""
_APART = {
    "sshpass": ("-p",), "redis-cli": ("-a",), "mongo": ("-p",), "mongosh": ("-p",), "mongodump": ("-p",),
    "mongorestore": ("-p",), "ldapsearch": ("-w",), "ldapmodify": ("-w",), "ldapadd": ("-w",),
    "docker": ("-p",), "podman": ("-p",), "helm": ("-p",), "unzip": ("-P",), "zip": ("-P",),
    "sqlcmd": ("-P",), "bcp": ("-P",), "ipmitool": ("-P",), "mosquitto_pub": ("-P",),
    "mosquitto_sub": ("-P",), "htpasswd": (), "rabbitmqadmin": ("-p",), "etcdctl": (),
    "openssl": ("-k", "-K"), "wget": (), "smbclient": (), "rclone": (), "az": ("-p",), "cqlsh": ("-p",),
    "twine": ("-p",), "rdesktop": ("-p",), "useradd": ("-p",), "usermod": ("-p",),
    "snmpget": ("-c", "-A", "-X"), "snmpwalk": ("-c", "-A", "-X"),
    "snmpbulkwalk": ("-c", "-A", "-X"), "snmpset": ("-c", "-A", "-X"),
}  # fmt: skip
"""... or as the next word. docker, podman, helm and az only behind `login` (elsewhere -p is a port)."""
_PHRASES = re.compile(
    "|".join(
        (
            r"\bngrok\s+(?:config\s+add-)?authtoken\s+",
            r"\baws\s+configure\s+set\s+\S*(?:secret|token)\S*\s+",
            r"\bnmcli\b[^|;&]*?\spassword\s+",
            r"\bwpa_passphrase\s+\S+\s+",
            r"\brabbitmqctl\s+(?:[^|;&]*?\s)?(?:add_user|change_password|authenticate_user)\s+\S+\s+",
            r"\bhtpasswd\s+-\w*b\w*\s+(?:\S+\s+){1,2}(?=\S+$)",
            r"\s-pass(?:in|out)?\s+pass:",
            r"\b(?:sqlplus|expdp|impdp|sqlldr|rman)\s+(?:-\S+\s+)*[\w$]+/(?=[^@\s]+@)",
            r"\blftp\b[^|;&]*?\s-u\s+[^,\s]+,",
            r"\b[xw]l?freerdp\S*\s[^|;&]*?/p(?:assword)?:",
            r"\bwandb(?:\s+login\b[^|;&]*?\s|\.login\(\s*(?:key\s*=\s*)?[\"'])(?=\w{32,})",
            r"\bauth\s*=\s*\(\s*[\"'][^\"']*[\"']\s*,\s*[\"']",
            r"\bcurl\b[^|;&]*?\s-b\s*(?=[\w.-]+=)",
            r"hooks\.slack\.com/(?:services|workflows|triggers)/",
            r"discord(?:app)?\.com/api/webhooks/\d+/",
            r"api\.telegram\.org/bot",
        )
    ).join(("(", ")(?!-)([^\\s\"'@]+)"))
)
"""A secret that stands behind words, not behind a name: `ngrok authtoken x`, `sqlplus scott/x@db`."""
_PHRASE_WORDS = (
    "ngrok", "aws", "nmcli", "wpa_", "rabbitmq", "htpasswd", "-pass", "sqlplus", "dp ", "sqlldr", "rman",
    "lftp", "freerdp", "wandb", "auth", "curl", "hooks.", "discord", "telegram",
)  # fmt: skip
"""One of them is in every text that _PHRASES can match: looking for them costs a tenth."""
_USER_PASS = {"curl": ("-u", "--user", "-U", "--proxy-user"), "etcdctl": ("--user",), "smbclient": ("-U",)}
"""`-u name:password`; smbclient separates with %."""


def mask_text(text: str) -> str:
    """Any text with the secrets in it replaced by `***`; the rest as it was."""
    if "-----BEGIN" in text:
        text = _PEM.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(_mask_url, text)
        if "?" in text:
            text = _QUERY.sub(rf"\g<1>{MASK}", text)
    if any(word in text for word in _PHRASE_WORDS):
        text = _PHRASES.sub(_mask_phrase, text)
    text = _HEADER.sub(_mask_header, text)
    text = _BEARER.sub(_mask_bearer, text)
    if "=" in text or ":" in text:
        text = _ASSIGN.sub(_mask_assign, text)
        text = _JOINED.sub(_mask_joined, text)
    if " -" in text or text.startswith("-"):
        text = _OPTION.sub(_mask_option, text)
    return _KNOWN.sub(MASK, text)


def mask_cmdline(cmdline: str) -> str:
    """A process's arguments (joined by spaces), secrets masked, at most 512 characters."""
    # Cut after masking: a secret cut in half would no longer look like one. What cannot be recorded
    # anyway needs no masking, but a margin keeps a secret across the border whole.
    masked = _mask_program(mask_text(cmdline[: 4 * MAX_CHARS]))
    return masked if len(masked) <= MAX_CHARS else masked[: MAX_CHARS - 1] + "…"


def mask_tree(value: object) -> object:
    """A run's configuration: strings masked, and all that stands under a name that says secret."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {str(k): MASK if _secret_name(str(k), v) else mask_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return _mask_list(list(value))
    return value


def _mask_list(items: list[object]) -> list[object]:
    """An argument vector keeps its split: `["--token", "x"]`."""
    out: list[object] = []
    for i, item in enumerate(items):
        before = items[i - 1] if i else None
        if isinstance(item, str) and isinstance(before, str) and before.startswith("-") and "=" not in before:
            pair = mask_text(f"{before} {item}")
            out.append(
                MASK if pair.endswith(MASK) and not mask_text(item).endswith(MASK) else mask_text(item)
            )
        else:
            out.append(mask_tree(item))
    return out


def _secret_name(name: str, value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    return MASK in mask_text(
        f"{name}={value.split()[0] if value.split() else 'x'}"
    ) and MASK not in mask_text(value)


def _harmless(value: str) -> bool:
    """A number (`--max-token 512`), a reference (`$TOKEN`, `/run/secrets/x`), a switch, or masked already."""
    bare = value.strip("\"'")
    return (
        not bare
        or MASK in bare
        or bare[0] in "<{"
        or _REFERENCE.match(bare) is not None
        or bare.lower() in ("true", "false", "none", "null", "yes", "no", "auto", "on", "off")
    )


def _mask_assign(m: re.Match[str]) -> str:
    name, sep, value = m[1], m[2], m[3]
    short = re.split(r"[-_.]", name.lower())[-1]
    if _harmless(value) or (
        _NUMBER.match(value) and short in ("token", "auth", "pin", "pass", "id", "otp", "sas")
    ):
        return m[0]
    if short in ("auth", "pass", "pin", "bearer", "cookie") and ":" in sep and " " not in sep:
        return m[0]  # `pass:2`, `module.auth:main` are not assignments
    return f"{name}{sep}{MASK}"


def _mask_joined(m: re.Match[str]) -> str:
    return m[0] if _harmless(m[2]) or _NUMBER.match(m[2]) else f"{m[1]}={MASK}"


def _mask_option(m: re.Match[str]) -> str:
    name, value = m[1], m[3]
    bare = name.lstrip("-").lower()
    if _harmless(value) or (bare in _FLAGS and ("/" in value or "." in value)):
        return m[0]
    if _NUMBER.match(value) and bare.endswith(("token", "auth", "pass")):
        return m[0]
    return f"{name}{m[2]}{MASK}"


def _mask_phrase(m: re.Match[str]) -> str:
    return m[0] if _harmless(m[2]) else f"{m[1]}{MASK}"


def _mask_url(m: re.Match[str]) -> str:
    scheme, user, password = m[1], m[2], m[3]
    if password is None:
        # `ssh://git@host` names an account; a long word there is a token.
        return f"{scheme}{MASK}@" if len(user) >= 16 else m[0]
    return f"{scheme}{user}:{MASK}@" if password else m[0]


def _mask_header(m: re.Match[str]) -> str:
    if _harmless(m[4]):
        return m[0]
    scheme = f"{m[3]} " if m[3] else ""
    return f"{m[1]}{m[2]}{scheme}{MASK}"


def _mask_bearer(m: re.Match[str]) -> str:
    value = m[3]
    if m[1].lower() == "basic" and not (len(value) >= 12 and re.search(r"[A-Z0-9=]", value)):
        return m[0]  # `basic training`
    if m[1].lower() == "bearer" and value.isalpha() and value.islower():
        return m[0]
    return f"{m[1]}{m[2]}{MASK}"


def _mask_program(text: str) -> str:
    """Short options, where the program is known to take a password there."""
    words = text.split(" ")
    programs = {w.rsplit("/", 1)[-1] for w in words[:4]} & (
        _ATTACHED.keys() | _APART.keys() | _USER_PASS.keys()
    )
    if not programs:
        return text
    for program in programs:
        attached, apart, pairs = _ATTACHED.get(program), _APART.get(program, ()), _USER_PASS.get(program, ())
        if program in ("docker", "podman", "helm", "az") and "login" not in words:
            continue
        if program == "openssl" and "enc" not in words:
            continue
        for i, word in enumerate(words):
            before = words[i - 1] if i else ""
            if attached and word.startswith(attached) and len(word) > len(attached) and word[1] != "-":
                words[i] = attached + MASK
            elif word and before in apart and not word.startswith("-"):
                words[i] = MASK
            elif word and (before in pairs or (pairs and word.startswith("-u") and ":" in word)):
                words[i] = _mask_pair(word)
    return " ".join(words)


def _mask_pair(word: str) -> str:
    for sep in (":", "%"):
        head, found, tail = word.partition(sep)
        if found and tail:
            return f"{head}{sep}{MASK}"
    return word
