"""E-mail as a Prefect notification block: `prefect block register -m flows.email_block` makes it known to a server."""

from typing import Any
from urllib.parse import quote, urlencode

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from pydantic import Field, SecretStr


class Email(AbstractAppriseNotificationBlock):
    """Sends mail through an SMTP server."""

    _block_type_name = "AttestRL e-mail"
    _block_type_slug = "attestrl-email"

    host: str = Field(description="SMTP server.")
    port: int = Field(default=587)
    security: str = Field(
        default="starttls", pattern="^(starttls|ssl|insecure)$", description="insecure: in the clear."
    )
    user: str | None = Field(default=None)
    password: SecretStr | None = Field(default=None)
    sender: str = Field(description="Address from which mail comes.")
    to: list[str] = Field(description="Addresses.")

    def block_initialization(self) -> None:
        """Set up the client, by the address that apprise has for a mail server."""
        known = ""
        if self.user and self.password:
            known = f"{quote(self.user, safe='')}:{quote(self.password.get_secret_value(), safe='')}@"
        options: dict[str, Any] = {"from": self.sender, "to": ",".join(self.to), "mode": self.security}
        scheme = "mailto" if self.security == "insecure" else "mailtos"
        options |= {"smtp": self.host, "format": "text"}
        self._start_apprise_client(SecretStr(f"{scheme}://{known}{self.host}:{self.port}/?{urlencode(options)}"))
