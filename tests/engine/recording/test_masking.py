"""Secrets in command lines are masked in every form we know; ordinary arguments stay as they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.recording.masking import MASK, MAX_CHARS, mask_cmdline, mask_text, mask_tree

# Put together from pieces, so that no scanner takes this file for a leak.
WORD = "S3" + "cret" + "Xyz9"
LONG = "Ab1" + "cD2eF" * 8


def token(*parts: str) -> str:
    return "".join(parts)


NAMED = [
    "mysql -p{s} db",
    "/usr/bin/mysqldump -u root -p{s} --all-databases",
    "mysql --password={s}",
    "mysql --password {s} db",
    "sshpass -p {s} ssh host",
    "sshpass -p{s} ssh host",
    "env PGPASSWORD={s} psql -h db",
    "sh -c MYSQL_PWD={s} mysql",
    "SSHPASS={s} sshpass -e ssh h",
    "redis-cli -a {s} ping",
    "redis-server --requirepass {s}",
    "curl -u bob:{s} https://host/",
    "curl --user bob:{s} https://host/",
    "curl -ubob:{s} https://host/",
    "curl -H Authorization: Bearer {s} https://host/",
    'curl -H "Authorization: Basic {s}" https://host/',
    "curl -H X-Api-Key: {s} https://host/",
    "curl -H PRIVATE-TOKEN: {s} https://git/api",
    "curl --cookie session_id={s} https://host/",
    "git clone https://bob:{s}@git.example/x.git",
    "psql postgres://bob:{s}@db:5432/x",
    "worker redis://:{s}@cache:6379/0",
    "wget https://store.example/x?sig={s}&se=2026",
    "wget https://s3/x?X-Amz-Signature={s}",
    "python train.py --api-key={s}",
    "python train.py --api_key {s}",
    "python train.py +wandb.api_key={s}",
    "python train.py --hf-token {s}",
    "python train.py --db_password '{s}'",
    'python -c config={{"password": "{s}", "x": 1}}',
    "AWS_SECRET_ACCESS_KEY={s} aws s3 ls",
    "az storage --account-key {s}",
    "az --connection-string AccountKey={s}==;EndpointSuffix=x",
    "WANDB_API_KEY={s} python train.py",
    "OPENAI_API_KEY={s} python agent.py",
    "app --client-secret {s}",
    "app --jwt={s}",
    "docker login -u bob -p {s} registry",
    "helm registry login -p {s} host",
    "openssl enc -aes256 -k {s} -in x",
    "ldapsearch -D cn=x -w {s}",
    "7z a -p{s} out.7z in",
    "unzip -P {s} x.zip",
    "smbclient -U bob%{s} //h/s",
    "mosquitto_sub -u x -P {s}",
    "vault login token={s}",
    "java -Djavax.net.ssl.keyStorePassword={s} -jar a.jar",
    "app --passphrase {s}",
    "app secret={s}",
    "az login --service-principal -u app -p {s} --tenant t",
    "aws configure set aws_secret_access_key {s}",
    "git -c http.extraheader=AUTHORIZATION: basic {s} fetch",
    "curl --oauth2-bearer {s} https://host/",
    'curl -d {{"token":"{s}"}} https://host/',
    "curl -b session={s} https://host/",
    "wget --http-password={s} https://host/",
    "rclone copy --s3-secret-access-key {s} a b",
    "psql host=db password={s} user=x",
    "mongosh mongodb+srv://u:{s}@host/x",
    "kubectl create secret generic x --from-literal=password={s}",
    "helm install x --set auth.password={s}",
    "ansible-playbook --extra-vars db_pass={s} p.yml",
    "SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T0AB/B0CD/{s} python x",
    "mount.cifs //h/s /m -o username=u,password={s}",
    "openssl pkcs12 -passin pass:{s} -in x",
    "gpg --batch --passphrase {s} -d x",
    "keytool -storepass {s} -list",
    "snmpwalk -v2c -c {s} host",
    "redis-cli -u redis://:{s}@host ping",
    "cqlsh -u x -p {s} host",
    "ngrok config add-authtoken {s}",
    "cloudflared tunnel run --token {s}",
    "tailscale up --authkey {s}",
    "jupyter lab --NotebookApp.token={s}",
    "xdg-open http://127.0.0.1:8888/?token={s}",
    "ray start --redis-password={s}",
    "s3cmd --access_key=A --secret_key={s} ls",
    "pip install --index-url https://user:{s}@host/simple x",
    "npm config set //registry/:_authToken={s}",
    "twine upload -u u -p {s} dist",
    "lftp -u bob,{s} host",
    "http_proxy=http://u:{s}@proxy:3128 python t.py",
    "sqlplus scott/{s}@db",
    "xfreerdp /u:x /p:{s} /v:h",
    "htpasswd -b file user {s}",
    "nmcli device wifi connect X password {s}",
    "vault write auth/approle/login role_id=x secret_id={s}",
    "rabbitmqctl add_user u {s}",
    "usermod --password {s} bob",
    "app --secretKey {s}",
    "app --openai-key {s}",
    "docker run -e MYSQL_ROOT_PASSWORD={s} mysql",
    "srun --export=ALL,WANDB_API_KEY={s} python t.py",
    "sbatch --export=HF_TOKEN={s},X=1 job.sh",
    "git clone https://x-access-token:{s}@github.example/x.git",
    'python -c os.environ["API_KEY"]="{s}"',
    'python -c login(token="{s}")',
    'python -c requests.get(u, auth=("u", "{s}"))',
]

SHAPED = [
    token("AK", "IA", "ABCDEFGHIJKLMNOP"),
    token("AS", "IA", "ABCDEFGHIJKLMNOP"),
    token("AI", "za", "S" * 35),
    token("ya", "29.", LONG),
    token("GOC", "SPX-", LONG[:28]),
    token("hf", "_", LONG[:34]),
    token("gh", "p_", LONG[:36]),
    token("gh", "s_", LONG[:36]),
    token("github", "_pat_", LONG),
    token("gl", "pat-", LONG[:20]),
    token("gl", "rt-", LONG[:20]),
    token("xo", "xb-", "1234567890-", LONG[:24]),
    token("xa", "pp-", "1-A1-", LONG[:24]),
    token("sk", "-", LONG),
    token("sk", "-proj-", LONG),
    token("sk", "-ant-", "api03-", LONG),
    token("sk", "_live_", LONG[:24]),
    token("nv", "api-", LONG),
    token("gs", "k_", LONG),
    token("r8", "_", LONG[:37]),
    token("np", "m_", LONG[:36]),
    token("py", "pi-", LONG),
    token("dckr", "_pat_", LONG[:27]),
    token("da", "pi", "0123456789abcdef" * 2),
    token("hv", "s.", LONG[:24]),
    token("SG", ".", LONG[:22], ".", LONG),
    token("ey", "J", LONG[:20], ".ey", "J", LONG[:30], ".", LONG),
    token("ts", "key-auth-", LONG[:20]),
    token("wandb", "_v1_", LONG),
]

PLAIN = [
    "python train.py --max-tokens 512 --tokenizer gpt2 --n_tokens=1000 token_dim=64",
    "python train.py --token-file /run/secrets/t --password-file /etc/x",
    "git show 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "docker run -p 8080:80 -v /a:/b nginx@sha256:" + "0123456789abcdef" * 4,
    "ssh -p 22 user@host",
    "mysql --port 3306 -u root",
    "mysqld --datadir=/var/lib/mysql",
    "vllm serve meta/llama --max-num-batched-tokens=8192 --port 8000",
    "torchrun --nproc_per_node 8 --rdzv_id 5b3f2a1c-1111-2222-3333-444455556666 t.py",
    "nginx: master process /usr/sbin/nginx",
    "postgres: walwriter",
    "sshd: user [priv]",
    "uvicorn app.auth:main --workers 4",
    "python -c import secrets; print(1)",
    "git fetch ssh://git@host/x.git",
    "kubelet --bootstrap-kubeconfig=/etc/k --token-ttl=3600",
    "cat /home/bob/password.txt",
    "/lib/systemd/systemd --system --deserialize 31",
    "dbus-daemon --session --address=systemd: --nofork",
    r"agetty -o -p -- \u --noclear tty1 linux",
    "bash -c echo basic training",
    "compass=3 bypass=1 passes=2",
    "sh -c curl -H Authorization:$TOKEN",
    "app --password $DB_PASSWORD --credentials /etc/app/credentials.json",
    "app --auth-method oauth --auth true",
    "app --keep_session_id=5",
    "x --pass 2",
    "sort --key=2 -t: /etc/passwd",
    "ssh -i /home/bob/.ssh/id_ed25519 host",
    "aws configure set region eu-west-1",
    "aws s3 cp a s3://bucket/key",
    "snmpd -c /etc/snmp/snmpd.conf",
    "wandb sync run-20261128_171703",
    "wandb agent team/project/abc123",
    "nmcli device wifi list",
    "ngrok http 8080",
    "useradd -m -G video bob",
    "curl -b cookies.txt https://host/",
    "az vm list -o table",
    "python train.py --embedding-key tokens --sort_key=loss",
    "python train.py --lr 0.001 --optimizer adamw --dataset /data/imagenet --seed 42",
    "python -m torch.distributed.run --master_addr 10.0.0.1 --master_port 29500 t.py",
    "sqlplus /nolog",
    "wandb offline",
]


@pytest.mark.parametrize("form", NAMED)
def test_a_secret_told_by_its_name_is_masked(form: str) -> None:
    line = form.format(s=WORD)
    masked = mask_cmdline(line)
    assert WORD not in masked and MASK in masked
    assert masked.split()[0] == line.split()[0] or "=" in line.split()[0]


@pytest.mark.parametrize("secret", SHAPED)
@pytest.mark.parametrize("form", ["app {s}", "app --x={s} y", "app 'see {s}.'"])
def test_a_secret_told_by_its_shape_is_masked(form: str, secret: str) -> None:
    masked = mask_cmdline(form.format(s=secret))
    assert secret not in masked and secret[6:] not in masked and MASK in masked


@pytest.mark.parametrize("line", PLAIN)
def test_ordinary_arguments_stay(line: str) -> None:
    assert mask_cmdline(line) == line


def test_a_private_key_goes_whole() -> None:
    begin, end = "-----BEGIN RSA PRIVATE" + " KEY-----", "-----END RSA PRIVATE" + " KEY-----"
    assert mask_text(f"a {begin}\n{LONG}\n{end} b") == f"a {MASK} b"
    assert LONG not in mask_text(f"a {begin}\n{LONG}")


def test_long_lines_are_cut_after_masking() -> None:
    line = "python " + "x" * 490 + f" --password={WORD}" + " y" * 3000
    masked = mask_cmdline(line)
    assert len(masked) == MAX_CHARS and masked.endswith("…") and WORD[:4] not in masked


def test_a_configuration_is_masked_by_key_and_by_value() -> None:
    tree = {
        "api_key": WORD, "lr": 0.1, "tokens": 512, "data": {"url": f"https://u:{WORD}@h/x"}, "token_dim": 64,
        "argv": ["train.py", "--hf-token", WORD, "--epochs", "3", f"--password={WORD}"],
    }  # fmt: skip
    masked = mask_tree(tree)
    assert WORD not in repr(masked)
    assert isinstance(masked, dict)
    assert masked["lr"] == 0.1 and masked["tokens"] == 512 and masked["token_dim"] == 64
    assert masked["argv"][:2] == ["train.py", "--hf-token"] and masked["argv"][3:5] == ["--epochs", "3"]


def test_a_wandb_key_is_masked_and_a_commit_of_the_same_form_is_not() -> None:
    key = "0123456789" * 4
    assert key not in mask_cmdline(f"wandb login {key}")
    assert key not in mask_cmdline(f"wandb login --relogin {key}")
    assert key in mask_cmdline(f"git checkout {key}")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_taken_and_masking_twice_changes_nothing(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once
    assert len(mask_cmdline(text)) <= MAX_CHARS
