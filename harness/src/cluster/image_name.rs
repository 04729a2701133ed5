//! Names of images, as registries and container runtimes read them. Pure.

/// The registry of a name that names none, and the namespace of its own images.
const DEFAULT: (&str, &str) = ("docker.io", "library");

/// A name in its parts: `registry:5000/team/hub:1@sha256:..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageName<'n> {
    /// Host and port; nothing for the default.
    registry: Option<&'n str>,
    repository: &'n str,
    tag: Option<&'n str>,
    digest: Option<&'n str>,
}

// === impl ImageName ===

impl<'n> ImageName<'n> {
    pub(crate) fn of(name: &'n str) -> Self {
        let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
        // A colon before the last slash is of a registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, name),
        };
        let is_default = |registry: &&str| *registry != DEFAULT.0 && *registry != "index.docker.io";
        Self { registry: registry.filter(is_default), repository, tag, digest }
    }

    /// What it is pulled by in place of a tag.
    pub(crate) fn digest(&self) -> Option<&'n str> {
        self.digest
    }

    /// Registry and repository, as containerd has them.
    pub(crate) fn repository(&self) -> String {
        let (registry, library) = DEFAULT;
        match self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None if self.repository.contains('/') => format!("{registry}/{}", self.repository),
            None => format!("{registry}/{library}/{}", self.repository),
        }
    }

    /// The whole name, as containerd has it: of an image with a digest, that in place of the tag.
    pub(crate) fn full(&self) -> String {
        match self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => format!("{}:{}", self.repository(), self.tag()),
        }
    }

    fn tag(&self) -> &'n str {
        self.tag.unwrap_or("latest")
    }

    fn library_free(&self) -> &'n str {
        match self.registry {
            None => self.repository.strip_prefix("library/").unwrap_or(self.repository),
            Some(_) => self.repository,
        }
    }

    /// Whether both name the same image: by the digest where both have one, else by the tag.
    fn is_same(&self, other: &Self) -> bool {
        let is_same_repository =
            self.registry == other.registry && self.library_free() == other.library_free();
        is_same_repository
            && match (self.digest, other.digest) {
                (Some(one), Some(two)) => one == two,
                // Written by its digest alone, it has no tag to compare.
                (Some(_), None) => self.tag.is_none_or(|tag| tag == other.tag()),
                (None, Some(_)) => other.tag.is_none_or(|tag| tag == self.tag()),
                (None, None) => self.tag() == other.tag(),
            }
    }
}

/// Whether two names are of the same image, however they are written.
pub(crate) fn is_same(one: &str, two: &str) -> bool {
    one == two || ImageName::of(one).is_same(&ImageName::of(two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_containerd_has_them() {
        for (given, full) in [
            ("hub:1", "docker.io/library/hub:1"),
            ("hub", "docker.io/library/hub:latest"),
            ("me/hub:1", "docker.io/me/hub:1"),
            ("docker.io/me/hub:1", "docker.io/me/hub:1"),
            ("ghcr.io/me/hub:1", "ghcr.io/me/hub:1"),
            ("localhost/hub", "localhost/hub:latest"),
            ("localhost:5000/hub", "localhost:5000/hub:latest"),
            ("reg:5000/a/b:1@sha256:00", "reg:5000/a/b@sha256:00"),
            ("hub@sha256:00", "docker.io/library/hub@sha256:00"),
        ] {
            assert_eq!(ImageName::of(given).full(), full);
        }
    }

    #[test]
    fn one_image_may_be_written_in_several_ways() {
        for (one, two) in [
            ("redis", "docker.io/library/redis:latest"),
            ("library/redis:7", "redis:7"),
            ("reg:5000/a/b:1@sha256:00", "reg:5000/a/b:1"),
            ("reg:5000/a/b:1@sha256:00", "reg:5000/a/b@sha256:00"),
            ("reg:5000/a/b@sha256:00", "reg:5000/a/b:1"),
        ] {
            assert!(is_same(one, two) && is_same(two, one), "{one} {two}");
        }
        for (one, two) in [
            ("redis:6", "redis:7"),
            ("reg:5000/a/b:1", "reg:5001/a/b:1"),
            ("a/b@sha256:00", "a/b@sha256:11"),
            ("a/b:1@sha256:00", "a/b:2"),
            ("me/redis", "redis"),
        ] {
            assert!(!is_same(one, two), "{one} {two}");
        }
    }
}
