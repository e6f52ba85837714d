"""STRIPE_SHOPS: what it may say, and that what is wrong is named without a secret."""

from pathlib import Path

import pytest

from core.setting_errors import SettingsError
from core.settings import Settings
from core.shop_accounts import PLATFORM
from payments.account_params import with_account
from payments.session_params import Order, PaidLine, session_params

BASE = {"DATABASE_URL": "postgresql://h@127.0.0.1/h", "STRIPE_API_KEY": "sk_test_platform"}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder with the secrets of an account."""
    (tmp_path / "key").write_text("sk_test_hidden\n")
    (tmp_path / "live").write_text("sk_live_hidden")
    (tmp_path / "secrets").write_text("whsec_new, whsec_old\n")
    return tmp_path


def test_each_shop_has_its_account(secrets: Path) -> None:
    shops = secrets / "shops.toml"
    shops.write_text(
        f"""
        ["shop.one"]
        account = "acct_1"
        application_fee_percent = 2.5
        former_accounts = ["platform", "acct_0", "acct_1"]

        [two]
        account = "acct_2"
        charges = "destination"

        [three]
        key_file = "{secrets}/key"
        webhook_secret_file = "{secrets}/secrets"
        """
    )
    accounts = Settings.read(BASE | {"STRIPE_SHOPS_FILE": str(shops)}).shop_accounts
    assert accounts["shop.one"].places == ("acct_1", PLATFORM, "acct_0")
    assert (accounts["two"].places, accounts["three"].places) == ((PLATFORM,), ())
    assert [each.get_secret_value() for each in accounts["three"].webhook_secret_file] == ["whsec_new", "whsec_old"]


@pytest.mark.parametrize(
    ("shops", "named"),
    [
        ("x", "TOML"),
        ("x = 1", "'x' must be a table"),
        ('["a b"]', "'a b' must be a table"),
        ("[a]", "one of account and key_file"),
        ('[a]\naccount = "1"', "account: must be the id of a connected account"),
        ('[a]\naccount = "acct_1"\nfee = 1', "fee: is unknown; allowed: account, charges"),
        ('[a]\naccount = "acct_1"\ncharges = "both"', 'charges: must be "direct" or "destination"'),
        ('[a]\naccount = "acct_1"\non_behalf_of = true', "on_behalf_of is for charges"),
        ('[a]\naccount = "acct_1"\napplication_fee_percent = 101', "application_fee_percent: must be above 0"),
        ('[a]\naccount = "acct_1"\napplication_fee_percent = 1.234', "at most two decimals"),
        ('[a]\naccount = "acct_1"\napplication_fee_amount = 1.5', "application_fee_amount: must be a whole number"),
        ('[a]\naccount = "acct_1"\napplication_fee_amount = 1\napplication_fee_percent = 1', "at most one of"),
        ('[a]\naccount = "acct_1"\nformer_accounts = ["x"]', "former_accounts: must be a list of accounts"),
        (
            '[a]\nkey_file = "sk_live_hidden"\nwebhook_secret_file = "x"',
            "key_file: must be the absolute path of a file",
        ),
        (
            '[a]\nkey_file = "/nowhere"\nwebhook_secret_file = "{0}/secrets"',
            "key_file: names a file that cannot be used",
        ),
        ('[a]\nkey_file = "{0}/secrets"\nwebhook_secret_file = "{0}/secrets"', "key_file: names a file without"),
        ('[a]\nkey_file = "{0}/key"', "key_file and webhook_secret_file together"),
        ('[a]\nkey_file = "{0}/key"\nwebhook_secret_file = "{0}/secrets"\napplication_fee_amount = 1', "no platform"),
        ('[a]\nkey_file = "{0}/live"\nwebhook_secret_file = "{0}/secrets"', "live and test keys"),
    ],
)
def test_what_is_wrong_is_named_without_a_secret(secrets: Path, shops: str, named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read(BASE | {"STRIPE_SHOPS": shops.replace("{0}", str(secrets))})
    [problem] = refused.value.problems
    assert problem.variable == "STRIPE_SHOPS"
    assert named in problem.reason
    assert "hidden" not in problem.reason


def test_connected_accounts_need_the_key_of_their_platform() -> None:
    with pytest.raises(SettingsError, match="STRIPE_API_KEY"):
        Settings.read({"DATABASE_URL": BASE["DATABASE_URL"], "STRIPE_SHOPS": '[a]\naccount = "acct_1"'})


@pytest.mark.parametrize(
    ("amount", "percent", "fee"), [(1999, "12.5", 250), (10, "5", 1), (9, "5", None), (0, "5", None)]
)
def test_a_percentage_is_rounded_to_the_nearest_unit(amount: int, percent: str, fee: int | None) -> None:
    shops = f'[a]\naccount = "acct_1"\napplication_fee_percent = {percent}'
    account = Settings.read(BASE | {"STRIPE_SHOPS": shops}).shop_accounts["a"]
    line = PaidLine(1, name="Tee", unit_amount=amount, currency="jpy")
    params = with_account(session_params(Order("a", "h", [line], "https://shop.example", None)), account, [line])
    assert params["payment_intent_data"].get("application_fee_amount") == fee
    assert params["payment_intent_data"]["metadata"] == params["metadata"]
