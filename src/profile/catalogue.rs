//! The catalogue of base images: a TOML file. An admin may edit it, and berth edits it without losing comments.
//!
//! It only names images; it does not know which of them the engine has.

use super::parse_toml;
use crate::error::Fault;
use crate::host::{Host, read_text};
use crate::model::name::check_image_name;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TableLike, value};

const HEADER: &str = "# Base images that berths can be made of; see: berth image --help\n";

/// One image that people may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueImage {
    pub name: String,
    /// What Docker calls it: `registry/repository:tag`.
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its users may become root in their berth by sudo; then new privileges cannot be forbidden.
    #[serde(default)]
    pub sudo: bool,
    /// Instead of the profile's `berth.users`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// The file that it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which content is meant, whatever its reference says by now: that of a registry …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// … or one that only this node's engine has. At most one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The content that an entry of the catalogue stands for. A name can later be given to other content, a pin cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Of a manifest in a registry: it can be fetched again, and is then the same.
    Digest(String),
    /// Of an image that only this engine has.
    Id(String),
}

impl CatalogueImage {
    pub fn pin(&self) -> Option<Pin> {
        let digest = self.digest.clone().map(Pin::Digest);
        digest.or_else(|| self.id.clone().map(Pin::Id))
    }

    /// Whether it was imported from a file on this node. No registry has it; the same name in a registry is another
    /// image.
    pub fn is_imported(&self) -> bool {
        self.source.is_some() || is_import_name(&self.reference)
    }

    fn set_pin(&mut self, pin: &Pin) {
        (self.digest, self.id) = match pin {
            Pin::Digest(digest) => (Some(digest.clone()), None),
            Pin::Id(id) => (None, Some(id.clone())),
        };
    }
}

const IMPORT_PREFIX: &str = "berth/";
const IMPORT_TAG: &str = ":imported";

/// What Docker calls an image that was imported as `name`.
pub fn import_name(name: &str) -> String {
    format!("{IMPORT_PREFIX}{name}{IMPORT_TAG}")
}

/// Also of an entry that somebody wrote by hand.
fn is_import_name(reference: &str) -> bool {
    let own = reference.strip_prefix("docker.io/").unwrap_or(reference);
    own.starts_with(IMPORT_PREFIX) && own.ends_with(IMPORT_TAG)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(default)]
    default: Option<String>,
    #[serde(default)]
    image: Vec<CatalogueImage>,
}

/// The file as it is, and what is in it.
#[derive(Debug)]
pub struct Catalogue {
    path: PathBuf,
    document: DocumentMut,
    images: Vec<CatalogueImage>,
    default: Option<String>,
}

impl Catalogue {
    /// An absent file is an empty catalogue; one that cannot be read or understood is an error.
    pub fn load(host: &dyn Host, path: &Path) -> Result<Self> {
        let text = match read_text(host, path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEADER.to_owned(),
            Err(error) => {
                return Err(
                    Fault::host(format!("catalogue {} cannot be read: {error}", path.display())).into()
                );
            }
        };
        Self::parse(path, &text).context("reading the catalogue of images")
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let entries: Entries = parse_toml(path, text)?;
        let wrong = |what: String| Fault::usage(format!("{}: {what}", path.display()));
        for (at, image) in entries.image.iter().enumerate() {
            check(image).map_err(&wrong)?;
            if entries.image.iter().take(at).any(|other| other.name == image.name) {
                return Err(wrong(format!("image {} is there twice", image.name)).into());
            }
        }
        let document = text.parse().map_err(|error| wrong(format!("{error}")))?;
        Ok(Self { path: path.to_path_buf(), document, images: entries.image, default: entries.default })
    }

    pub fn images(&self) -> &[CatalogueImage] {
        &self.images
    }

    /// The image for requests that name none: the admin's choice, else the profile's, else the first in the catalogue.
    pub fn default_name<'a>(&'a self, profile: Option<&'a str>) -> Option<&'a str> {
        let first = || self.images.first().map(|image| image.name.as_str());
        self.default.as_deref().or(profile).or_else(first)
    }

    /// Makes this image the one for requests that name none. Fails if it is not in the catalogue.
    pub fn set_default(&mut self, name: &str) -> Result<()> {
        self.resolve(name)?;
        self.document.insert("default", value(name));
        self.default = Some(name.to_owned());
        Ok(())
    }

    /// The image of this name, or an error that names those there are.
    pub fn resolve(&self, name: &str) -> Result<&CatalogueImage> {
        if let Some(image) = self.images.iter().find(|image| image.name == name) {
            return Ok(image);
        }
        let shown: String = name.chars().take(80).collect();
        let fault = Fault::usage(format!("there is no image {shown:?} in the catalogue"));
        let nearest = self
            .images
            .iter()
            .map(|image| (strsim::damerau_levenshtein(&shown, &image.name), &image.name))
            .filter(|(distance, known)| *distance <= known.len() / 2)
            .min();
        let names: Vec<&str> = self.images.iter().map(|image| image.name.as_str()).collect();
        Err(match nearest {
            Some((_, nearest)) => fault.help(format!("did you mean {nearest}?")),
            None if names.is_empty() => fault.help("it is empty; add one: berth image add NAME REFERENCE"),
            None => fault.help(format!("there are: {}", names.join(", "))),
        }
        .into())
    }

    /// Adds an image, or refuses when its name is taken.
    pub fn add(&mut self, image: CatalogueImage) -> Result<()> {
        check(&image).map_err(Fault::usage)?;
        if self.images.iter().any(|known| known.name == image.name) {
            return Err(Fault::refused(format!("image {} is in the catalogue already", image.name))
                .help(format!("remove it first: berth image remove {}", image.name))
                .into());
        }
        // Comments at the end of the file stay above what is added below them.
        let last_words = self.document.trailing().as_str().unwrap_or_default().to_owned();
        self.document.set_trailing("");
        // An inline `image = [{ … }]` says the same; such a file is rewritten as tables.
        let entry = self.document.entry("image").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
        if !entry.is_array_of_tables() {
            let tables = std::mem::take(entry).into_array_of_tables().unwrap_or_default();
            *entry = Item::ArrayOfTables(tables);
        }
        if let Some(tables) = entry.as_array_of_tables_mut() {
            tables.push(table(&image, format!("{last_words}\n")));
        }
        self.images.push(image);
        Ok(())
    }

    /// Removes an image. Returns whether it was in the catalogue.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.images.iter().position(|image| image.name == name) else { return false };
        match self.document.get_mut("image") {
            Some(Item::ArrayOfTables(tables)) => {
                tables.remove(at);
            }
            Some(Item::Value(toml_edit::Value::Array(array))) => {
                array.remove(at);
            }
            _ => {}
        }
        self.images.remove(at);
        if self.default.as_deref() == Some(name) {
            self.document.remove("default");
            self.default = None;
        }
        true
    }

    /// Notes which content an entry means, or does nothing where there is no such entry.
    pub fn pin(&mut self, name: &str, pin: &Pin) {
        let Some((at, image)) = self.images.iter_mut().enumerate().find(|(_, image)| image.name == name)
        else {
            return;
        };
        image.set_pin(pin);
        let pins = [("digest", image.digest.clone()), ("id", image.id.clone())];
        let Some(entry) = self.document.get_mut("image") else { return };
        let table: Option<&mut dyn TableLike> = match entry {
            Item::ArrayOfTables(tables) => tables.get_mut(at).map(|table| table as &mut dyn TableLike),
            Item::Value(toml_edit::Value::Array(array)) => array
                .get_mut(at)
                .and_then(toml_edit::Value::as_inline_table_mut)
                .map(|table| table as &mut dyn TableLike),
            _ => None,
        };
        let Some(table) = table else { return };
        for (key, pinned) in pins {
            match pinned {
                Some(pinned) => table.insert(key, value(pinned)),
                None => table.remove(key),
            };
        }
    }

    /// Writes it back, comments and all.
    pub fn save(&self, host: &dyn Host) -> Result<()> {
        let text = self.document.to_string();
        // What we write we must be able to read, or the next command finds no catalogue.
        let again = Self::parse(&self.path, &text).context("checking the catalogue before writing it")?;
        if again.images != self.images || again.default != self.default {
            return Err(Fault::bug("the catalogue would not be read back as it was meant").into());
        }
        host.write_atomic(&self.path, text.as_bytes(), 0o644)
            .map_err(|error| Fault::host(format!("{}: {error}", self.path.display())))
            .context("writing the catalogue of images")
    }
}

fn check(image: &CatalogueImage) -> Result<(), String> {
    check_image_name(&image.name)?;
    let reference = &image.reference;
    if reference.is_empty()
        || reference.len() > 512
        || reference.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(format!("image {}: its reference is not one of Docker's", image.name));
    }
    let plain = |text: &Option<String>| {
        text.iter().all(|text| text.len() <= 1024 && !text.contains(char::is_control))
    };
    if !plain(&image.description) || !plain(&image.source) {
        return Err(format!("image {}: its description or source is not one line of text", image.name));
    }
    if image.digest.is_some() && image.id.is_some() {
        return Err(format!("image {}: it has a digest and an id; write one of them", image.name));
    }
    for (key, pinned) in [("digest", &image.digest), ("id", &image.id)] {
        if pinned.as_deref().is_some_and(|pinned| !is_hash(pinned)) {
            return Err(format!("image {}: its {key} is not sha256: and 64 digits", image.name));
        }
    }
    for user in image.users.iter().flatten() {
        if !is_account(user) {
            return Err(format!("image {}: {user:?} is not the name of an account", image.name));
        }
    }
    Ok(())
}

fn is_hash(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// Whether it can be an account's name in an image. Those allow more than berth's own names: HwHiAiUser, vllm_user.
fn is_account(user: &str) -> bool {
    user.len() <= 32
        && user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// The TOML table of an image. `before` is the text between it and the previous table.
fn table(image: &CatalogueImage, before: String) -> Table {
    let mut table = Table::new();
    table.insert("name", value(image.name.as_str()));
    table.insert("reference", value(image.reference.as_str()));
    if let Some(description) = &image.description {
        table.insert("description", value(description.as_str()));
    }
    if image.sudo {
        table.insert("sudo", value(true));
    }
    if let Some(users) = &image.users {
        table.insert("users", value(users.iter().map(String::as_str).collect::<toml_edit::Array>()));
    }
    if let Some(source) = &image.source {
        table.insert("source", value(source.as_str()));
    }
    for (key, pinned) in [("digest", &image.digest), ("id", &image.id)] {
        if let Some(pinned) = pinned {
            table.insert(key, value(pinned.as_str()));
        }
    }
    table.decor_mut().set_prefix(before);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorClass, flatten};
    use crate::host::FakeHost;

    const PATH: &str = "/etc/berth/images.toml";
    const TEXT: &str = "# ours\n[[image]]\nname = \"torch-2.1\"   # stable\nreference = \"r.example/torch:2.1\"\n\n\
                        # do not touch\n[[image]]\nname = \"ms\"\nreference = \"r.example/ms:2\"\nusers = [\"ma-user\"]\n";

    fn load(text: &str) -> Result<Catalogue> {
        Catalogue::load(&FakeHost::default().with_file(PATH, text), Path::new(PATH))
    }

    fn image(name: &str) -> CatalogueImage {
        CatalogueImage {
            name: name.into(),
            reference: "r.example/x:1".into(),
            description: Some("says \"hello\" [[image]]".into()),
            sudo: true,
            users: Some(vec!["HwHiAiUser".into()]),
            source: None,
            digest: None,
            id: None,
        }
    }

    #[test]
    fn an_entry_is_pinned_in_its_place() {
        let hash = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let (one, two) = (Pin::Id(hash("1")), Pin::Digest(hash("2")));
        for text in [
            TEXT,
            "image = [{ name = \"torch-2.1\", reference = \"a:1\" }, { name = \"ms\", reference = \"b:1\" }]\n",
        ] {
            let mut catalogue = load(text).unwrap();
            catalogue.pin("ms", &one);
            catalogue.pin("ms", &two);
            catalogue.pin("torch-2.1", &one);
            catalogue.pin("nope", &one);
            let host = FakeHost::default();
            catalogue.save(&host).unwrap();
            let again = Catalogue::load(&host, Path::new(PATH)).unwrap();
            let pins: Vec<_> = again.images().iter().map(CatalogueImage::pin).collect();
            assert_eq!(pins, [Some(one.clone()), Some(two.clone())]);
            assert!(!text.starts_with('#') || catalogue.document.to_string().contains("# do not touch"));
        }
        let both =
            format!("[[image]]\nname = \"a\"\nreference = \"a\"\nid = {0:?}\ndigest = {0:?}\n", hash("1"));
        assert!(
            load(&both).is_err()
                && load("[[image]]\nname = \"a\"\nreference = \"a\"\nid = \"sha256:1\"\n").is_err()
        );
    }

    #[test]
    fn what_was_imported_is_known_with_and_without_its_source() {
        let of = |reference: &str, source: Option<&str>| {
            CatalogueImage { reference: reference.into(), source: source.map(Into::into), ..image("x") }
                .is_imported()
        };
        assert!(
            of(&import_name("x"), None)
                && of("docker.io/berth/y:imported", None)
                && of("r.example/a:1", Some("/a.tar"))
        );
        assert!(!of("r.example/berth/x:imported", None) && !of("berth/x:1", None));
    }

    #[test]
    fn an_absent_catalogue_is_empty_and_can_be_filled() {
        let host = FakeHost::default();
        let mut catalogue = Catalogue::load(&host, Path::new(PATH)).unwrap();
        assert!(catalogue.images().is_empty());
        catalogue.add(image("x")).unwrap();
        catalogue.save(&host).unwrap();
        let again = Catalogue::load(&host, Path::new(PATH)).unwrap();
        assert_eq!(again.images(), [image("x")]);
        assert!(read_text(&host, Path::new(PATH)).unwrap().starts_with("# Base images"));
    }

    #[test]
    fn comments_stay() {
        let mut catalogue = load(TEXT).unwrap();
        catalogue.add(image("new")).unwrap();
        let text = catalogue.document.to_string();
        assert!(text.starts_with(TEXT), "{text}");
        assert!(text.ends_with("\n[[image]]\nname = \"new\"\nreference = \"r.example/x:1\"\ndescription = 'says \"hello\" [[image]]'\nsudo = true\nusers = [\"HwHiAiUser\"]\n"), "{text}");
        assert!(catalogue.remove("new") && !catalogue.remove("new"));
        assert_eq!(catalogue.document.to_string(), TEXT);
        assert!(catalogue.remove("ms"));
        assert!(catalogue.document.to_string().contains("# stable"));
        catalogue.save(&FakeHost::default()).unwrap();
    }

    #[test]
    fn the_first_image_is_the_default_until_somebody_says_another() {
        let host = FakeHost::default();
        let mut catalogue = load(TEXT).unwrap();
        catalogue.add(image("new")).unwrap();
        assert_eq!(catalogue.default_name(None), Some("torch-2.1"));
        assert_eq!(catalogue.default_name(Some("ms")), Some("ms"), "the profile's");
        assert!(catalogue.set_default("nope").is_err());
        catalogue.set_default("new").unwrap();
        catalogue.save(&host).unwrap();
        let mut again = Catalogue::load(&host, Path::new(PATH)).unwrap();
        assert_eq!(again.default_name(Some("ms")), Some("new"), "what was said here counts more");
        let text = read_text(&host, Path::new(PATH)).unwrap();
        assert!(
            text.contains("# stable") && text.contains("# do not touch") && text.contains("# ours"),
            "{text}"
        );
        assert!(again.remove("new"));
        again.save(&host).unwrap();
        assert_eq!(again.default_name(None), Some("torch-2.1"), "nothing names what is gone");
        assert!(load("default = \"x\"\n").unwrap().default_name(None) == Some("x"));
        assert_eq!(load("").unwrap().default_name(None), None);
    }

    #[test]
    fn an_inline_catalogue_is_understood() {
        let mut catalogue = load("image = [{ name = \"a\", reference = \"a:1\" }]\n").unwrap();
        catalogue.add(image("b")).unwrap();
        catalogue.save(&FakeHost::default()).unwrap();
        let mut catalogue = load("image = [{ name = \"a\", reference = \"a:1\" }]\n").unwrap();
        assert!(catalogue.remove("a"));
        catalogue.save(&FakeHost::default()).unwrap();
    }

    #[test]
    fn mistakes_show_their_place() {
        let fault = flatten(&load("[[image]]\nname = \"a\"\nrefrence = \"x\"\n").unwrap_err());
        assert!(
            fault.message.contains("/etc/berth/images.toml:3:1: unknown field `refrence`"),
            "{}",
            fault.message
        );
        assert_eq!(fault.help.as_deref(), Some("did you mean `reference`?"));
        for text in [
            "[[image]]\nname = \"../x\"\nreference = \"a\"\n",
            "[[image]]\nname = \"a\"\nreference = \"a b\"\n",
            "[[image]]\nname = \"a\"\nreference = \"a\"\n[[image]]\nname = \"a\"\nreference = \"b\"\n",
            "[[image]]\nname = \"a\"\nreference = \"a\"\nusers = [\"a b\"]\n",
            "[[image]",
        ] {
            assert_eq!(flatten(&load(text).unwrap_err()).class, ErrorClass::Usage, "{text}");
        }
    }

    #[test]
    fn an_unknown_image_suggests_one() {
        let catalogue = load(TEXT).unwrap();
        assert_eq!(catalogue.resolve("ms").unwrap().reference, "r.example/ms:2");
        let help = |name: &str| flatten(&catalogue.resolve(name).unwrap_err()).help.unwrap();
        assert_eq!(help("torch-2.2"), "did you mean torch-2.1?");
        assert_eq!(help("zzzzzzzzzzzz"), "there are: torch-2.1, ms");
        let mut taken = load(TEXT).unwrap();
        assert_eq!(flatten(&taken.add(image("ms")).unwrap_err()).class, ErrorClass::Refused);
    }
}
