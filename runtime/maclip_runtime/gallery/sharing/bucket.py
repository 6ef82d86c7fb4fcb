"""A store in a bucket of S3 and what speaks like it, of Google or Azure, with `obstore`."""

from __future__ import annotations

from typing import Any

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line
from maclip_runtime.gallery.sharing.stores import (
    ChangedMeanwhile,
    Stored,
    no_conditions,
    refused,
    too_large,
    unreachable,
)


class BucketStore:
    """A folder of a bucket, with the credentials of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).

    where: `s3://BUCKET/PATH`, or `gs://`, `az://`.

    Raises `share-missing` without `obstore`, `share-address` where it does not take the address.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            import obstore
            from obstore import exceptions
            from obstore.store import from_url
        except ImportError as error:
            raise MaclipError(
                "share-missing",
                f"Buckets need the library obstore ({error}).",
                "Install it: pip install 'maclip[share]'.",
                EXIT_MACHINE_LACKS,
            ) from error
        self._library, self._faults = obstore, exceptions
        try:
            self._store: Any = from_url(where)
        except Exception as error:  # of the library, by scheme
            raise MaclipError(
                "share-address",
                f"The bucket {where} cannot be opened ({first_line(error)}).",
                "Give s3://BUCKET/PATH, and the bucket's region and credentials in the environment.",
            ) from error

    def get(self, name: str, max_bytes: int, *, unless: str | None = None) -> Stored | None:
        """See `Store.get`."""
        try:
            options: Any = {"if_none_match": unless} if unless else None
            found = self._library.get(self._store, name, options=options)
            if found.meta["size"] > max_bytes:
                raise too_large(self.where, name, max_bytes)
            return Stored(bytes(found.bytes()), found.meta["e_tag"])
        except self._faults.NotModifiedError:
            return Stored(b"", unless)
        except FileNotFoundError:
            return None
        except MaclipError:
            raise
        except Exception as error:
            raise self._fault(error) from error

    def put(self, name: str, content: bytes) -> None:
        """See `Store.put`."""
        try:
            self._library.put(self._store, name, content, mode="create", use_multipart=False)
        except self._faults.AlreadyExistsError:
            return
        except Exception as error:
            raise self._fault(error) from error

    def replace(self, name: str, content: bytes, tag: str | None) -> str | None:
        """See `Store.replace`. Raises `share-unsupported` too."""
        mode: Any = "create" if tag is None else {"e_tag": tag}
        try:
            made = self._library.put(self._store, name, content, mode=mode, use_multipart=False)
        except (self._faults.AlreadyExistsError, self._faults.PreconditionError):
            raise ChangedMeanwhile from None
        except (NotImplementedError, self._faults.NotSupportedError) as error:
            raise no_conditions(self.where, first_line(error)) from error
        except Exception as error:
            raise self._fault(error) from error
        tag_made: str | None = made["e_tag"]
        return tag_made

    def close(self) -> None:
        """Nothing is open."""

    def _fault(self, error: Exception) -> MaclipError:
        if isinstance(error, (self._faults.PermissionDeniedError, self._faults.UnauthenticatedError)):
            return refused(self.where, first_line(error))
        return unreachable(self.where, first_line(error))
