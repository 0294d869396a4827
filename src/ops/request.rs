//! Makes a new berth: check, image, claim, build, commit. After any error behind the claim, the berth is undone.

use super::choose::Patience;
use super::images::ReadyImage;
use super::limits::More;
use super::locks::beside;
use super::ports::Asker;
use super::ration::Act;
use super::sizes::{check_cpus, check_memory, online_cpus};
use super::{Caller, Node, ProgressSender, Survey, choose, node, ports, queue, waiting};
use crate::error::{Fault, flatten};
use crate::facts::at_work::check_not_at_work;
use crate::host::crash;
use crate::ledger::{ClaimError, Ledger, NewBerth, NewTicket, TicketRow, User};
use crate::model::clock::BootTime;
use crate::model::facts::NpuFacts;
use crate::model::{Berth, BerthRequest, CardId, CardWish, Holder, Size, card, name};
use crate::profile::{BerthRules, Settings};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;

/// How many requests of one user wait without a connection.
const MOST_DETACHED: usize = 2;
/// The name of a berth where the request gives none. A second one is `dev-2`.
const DEFAULT_NAME: &str = "dev";

/// A request whose arguments were checked.
struct Order {
    /// The settings when the request came.
    settings: Arc<Settings>,
    owner: User,
    /// Those of the owner's that the profile has limits for.
    groups: Vec<String>,
    name: Option<String>,
    wish: CardWish,
    lease: Duration,
    wait: Duration,
    unattended: bool,
    cpus: Option<f64>,
    memory: Option<Size>,
}

impl Order {
    fn patience(&self) -> Patience {
        if self.wait.is_zero() { Patience::None } else { Patience::Waits }
    }

    fn memory(&self) -> Size {
        self.memory.unwrap_or_else(|| self.settings.profile.berth.memory_of(self.wish.count()))
    }

    fn more(&self) -> More {
        More { cards: self.wish.count(), memory: Some(self.memory()), berths: 1 }
    }

    fn ticket(&self) -> NewTicket {
        NewTicket {
            owner: self.owner.name.clone(),
            berth: self.name.clone(),
            wish: self.wish.clone(),
            lease: self.lease,
            unattended: self.unattended,
            request: None,
        }
    }
}

/// A claim, the look at the cards behind the decision, and the mark that this task works on the berth.
struct Claimed {
    berth: Berth,
    /// `None` where it has no cards.
    survey: Option<Survey>,
    since: BootTime,
    _busy: node::BusyGuard,
}

impl Node {
    pub async fn request(
        self: &Arc<Self>,
        caller: &Caller,
        request: BerthRequest,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        self.ration(caller, Act::Request)?;
        let order = self.check_order(caller, &request, self.settings()).await?;
        let ticket = self.came_back(request.ticket, &order.ticket(), caller).await?;
        self.check_room().await?;
        self.ensure_reconciled().await?;
        // Before the work for an image; what decides is the look under the lock.
        let held = self.ledger(Ledger::standing_berths).await?;
        self.check_limit((&order.owner.name, &order.groups), &held, order.more()).await?;
        let image = self.image_asked(caller, &order, request.image.as_deref(), progress).await?;
        // Made before anybody else has to wait for it.
        self.owner_key(&order.owner.name).await?;
        let claimed = Box::pin(self.claim_when_free(caller, &order, &image, ticket, progress)).await?;
        let made = self.make(&order, &image, &claimed, caller, progress).await;
        if made.is_err() {
            self.forget_ticket(claimed.berth.id).await;
        }
        made
    }

    /// Notes a request that waits without a connection.
    pub async fn request_detached(&self, caller: &Caller, request: BerthRequest) -> Result<TicketRow> {
        self.ration(caller, Act::Request)?;
        let order = self.check_order(caller, &request, self.settings()).await?;
        let owner = order.owner.name.clone();
        if order.wish.is_none() {
            return Err(Fault::usage("a berth without cards waits for nobody")
                .help("leave out --detach: it is made at once")
                .into());
        }
        if let Some(named) = &request.image {
            let own = Caller { name: owner.clone(), admin: false, user: Some(owner.clone()) };
            self.named_snapshot(&own, &owner, named).await?;
        }
        let held = self.ledger(Ledger::standing_berths).await?;
        self.check_limit((&owner, &order.groups), &held, order.more()).await?;
        // Counted and added by one at a time.
        let deciding = self.deciding.lock().await;
        let waiting = self.ledger(Ledger::detached).await?;
        if waiting.iter().filter(|(ticket, _)| ticket.owner == owner).count() >= MOST_DETACHED {
            return Err(Fault::busy(format!("{MOST_DETACHED} requests of {owner} wait already"))
                .help("berth cancel ends one of them; `berth queue` shows them")
                .into());
        }
        let new = NewTicket { request: Some(request.detached(&owner)), ..order.ticket() };
        let id = self.add_ticket(&new, &caller.name).await?;
        drop(deciding);
        self.tell_freed();
        self.tell_wanted();
        let ticket = self.ledger(move |ledger| ledger.ticket(id)).await?;
        Ok(ticket.ok_or_else(|| Fault::bug("a ticket that was added is not there"))?)
    }

    /// Makes a berth of a request that waited without a connection. An error of class `Busy`: it is not its turn. The
    /// inner error: the berth was begun and undone, and the request waits again.
    pub(super) async fn request_of(
        self: &Arc<Self>,
        ticket: &TicketRow,
        request: &BerthRequest,
    ) -> Result<Result<Berth>> {
        // What its owner may have was checked when it came.
        let caller = Caller { name: ticket.owner.clone(), admin: true, user: Some(ticket.owner.clone()) };
        let progress = ProgressSender::nobody();
        let order = self.check_order(&caller, request, self.settings()).await?;
        self.check_room().await?;
        self.ensure_reconciled().await?;
        // Only the catalogue and the owner's own: whoever asked, nobody else's image is named by a ticket.
        let owner = Caller { admin: false, ..caller.clone() };
        let image = self.image_asked(&owner, &order, request.image.as_deref(), &progress).await?;
        self.owner_key(&order.owner.name).await?;
        let claimed = Box::pin(self.claim(&caller, &order, &image, Some(ticket.id))).await?;
        let (id, confirm) = (claimed.berth.id, order.settings.profile.lease.confirm.as_secs());
        let built = async {
            self.ledger(move |ledger| ledger.expect_login(id, confirm)).await?;
            Box::pin(self.build_and_commit(&order, &image, &claimed, &caller.name, &progress)).await
        };
        let built = built.await;
        if let Err(error) = &built {
            self.undo_to_wait(&claimed.berth, &flatten(error).message).await;
        }
        Ok(built)
    }

    async fn make(
        &self,
        order: &Order,
        image: &ReadyImage,
        claimed: &Claimed,
        caller: &Caller,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        // On the heap: what it holds across its waits is large.
        let built = Box::pin(self.build_and_commit(order, image, claimed, &caller.name, progress)).await;
        if let Err(error) = &built {
            self.undo(&claimed.berth, &caller.name, &flatten(error).message).await;
        }
        built
    }

    /// The image of the request: of the catalogue, or one that its owner made.
    async fn image_asked(
        &self,
        caller: &Caller,
        order: &Order,
        named: Option<&str>,
        progress: &ProgressSender,
    ) -> Result<ReadyImage> {
        let profile = &order.settings.profile;
        let snapshot = match named {
            Some(named) => self.named_snapshot(caller, &order.owner.name, named).await?,
            None => None,
        };
        match snapshot {
            Some(snapshot) => self.ready_snapshot(profile, snapshot, progress).await,
            None => self.ready_image(profile, named, progress).await,
        }
    }

    async fn check_order(
        &self,
        caller: &Caller,
        request: &BerthRequest,
        settings: Arc<Settings>,
    ) -> Result<Order> {
        choose::check_wish(&request.cards, settings.profile.devices.cards)?;
        if let Some(chosen) = &request.name {
            name::check_name("berth name", chosen).map_err(Fault::usage)?;
        }
        let owner = caller.owner(request.owner.as_deref())?;
        let user = self.check_owner(&owner).await?;
        let lease = lease(&settings.profile.berth, request.lease)?;
        let groups = self.limit_groups(&owner).await?;
        Ok(Order {
            owner: user,
            name: request.name.clone(),
            wish: request.cards.clone(),
            lease: self.limited_lease((&owner, &groups), lease, request.lease.is_some()).await?,
            groups,
            wait: waiting::checked(request.wait)?,
            unattended: request.unattended,
            cpus: check_cpus(request.cpus)?,
            memory: check_memory(caller, &settings.profile.berth, request)?,
            settings,
        })
    }

    /// The registered user of this name. An error when there is none, or they have no key to log in with.
    async fn check_owner(&self, owner: &str) -> Result<User> {
        let asked = owner.to_owned();
        let user = self.ledger(move |ledger| ledger.user(&asked)).await?.ok_or_else(|| {
            Fault::usage(format!("there is no user {owner}"))
                .help(format!("berth user add {owner} --key FILE"))
        })?;
        if user.keys.is_empty() {
            return Err(Fault::refused(format!("{owner} has no SSH key and could not log in"))
                .help(format!("berth user key add {owner} FILE"))
                .into());
        }
        Ok(user)
    }

    /// Claims cards now, or waits for them as long as the request says and its client listens.
    async fn claim_when_free(
        &self,
        caller: &Caller,
        order: &Order,
        image: &ReadyImage,
        ticket: Option<queue::WaitingTicket>,
        progress: &ProgressSender,
    ) -> Result<Claimed> {
        let mut wait = self.wait(caller, order.ticket(), order.wait, ticket, progress)?;
        loop {
            wait.looks();
            match self.claim(caller, order, image, wait.ticket()).await {
                Ok(claimed) => {
                    wait.is_served();
                    return Ok(claimed);
                }
                Err(refused) => wait.after(refused).await?,
            }
        }
    }

    /// Looks at the cards, chooses some and writes the claim, under the decision lock.
    async fn claim(
        &self,
        caller: &Caller,
        order: &Order,
        image: &ReadyImage,
        ticket: Option<i64>,
    ) -> Result<Claimed> {
        let _deciding = self.decide_after(Box::pin(self.could_be_served(order))).await?;
        let Settings { config, profile } = &*order.settings;
        check_not_at_work(&*self.host(), &config.paths.state)?;
        // Who wants no card depends on none: not on an npu-smi that hangs either.
        let survey = match &order.wish {
            wish if wish.is_none() => None,
            _ => Some(self.survey(config.tools.npu_smi_max_age).await?),
        };
        let held = self.ledger(Ledger::standing_berths).await?;
        // It may have been a long wait, or a long pull.
        self.check_owner(&order.owner.name).await?;
        let owner = order.owner.name.clone();
        let last = self.ledger(move |ledger| ledger.last_cards(&owner)).await?;
        let host_key = self.owner_key(&order.owner.name).await?.public_openssh;
        let now = self.now().wall;
        let name = free_name(order, &held)?;
        self.check_limit((&order.owner.name, &order.groups), &held, order.more()).await?;
        let (owner, named, key) = (order.owner.name.clone(), name.clone(), host_key.clone());
        let past = self.ledger(move |ledger| ledger.port_uses(&owner, &named, &key)).await?;
        let asked = queue::CardsAsked {
            owner: &order.owner.name,
            wish: &order.wish,
            lease: order.lease,
            unattended: order.unattended,
            last: &last,
            ticket,
            patience: order.patience(),
        };
        let turn = match &survey {
            Some(survey) => self.turn(survey, &asked).await?,
            None => queue::Served::without_cards(),
        };
        let asker = Asker { owner: &order.owner.name, name: &name, host_key: &host_key };
        let rules = &profile.berth;
        let cpus = order.cpus.or_else(|| rules.cpus_of(turn.cards.len()));
        let new = NewBerth {
            owner: order.owner.name.clone(),
            port: ports::free_port(&config.ssh, &asker, &past, &held)?,
            name,
            ssh_user: image.user().name.clone(),
            image: image.name.clone(),
            image_id: image.id.clone(),
            memory: Some(order.memory()),
            cpus: cpus.map(|cpus| cpus.min(online_cpus())),
            lease: Some(order.lease.as_secs()),
            unattended: order.unattended,
            ticket,
            overtaken: turn.overtaken,
            cards: turn.cards,
        };
        let text = format!("{}/{} asks for {}", new.owner, new.name, card::named(&new.cards));
        let mut event = self.event("berth.requested", &caller.name, text);
        // The berth begins when its lease does, however long a host key took.
        event.at = now;
        (event.owner, event.berth) = (Some(new.owner.clone()), Some(new.name.clone()));
        let berth = self.ledger(move |ledger| ledger.claim(&new, &event).map_err(claim_fault)).await?;
        crash::point("request.claimed");
        let busy = self.busy.enter(berth.id).ok_or_else(|| Fault::bug("a new berth is in work already"))?;
        Ok(Claimed { berth, survey, since: self.now().boot, _busy: busy })
    }

    /// An error when the cards that are free now are not enough. Claims nothing.
    async fn could_be_served(&self, order: &Order) -> Result<()> {
        if order.wish.is_none() {
            return Ok(());
        }
        let survey = self.survey(order.settings.config.tools.npu_smi_max_age).await?;
        let owner = order.owner.name.clone();
        let last = self.ledger(move |ledger| ledger.last_cards(&owner)).await?;
        choose::choose(&survey, &order.wish, &last, self.now().wall, order.patience()).map(drop)?;
        Ok(())
    }

    async fn build_and_commit(
        &self,
        order: &Order,
        image: &ReadyImage,
        claimed: &Claimed,
        actor: &str,
        progress: &ProgressSender,
    ) -> Result<Berth> {
        let berth = &claimed.berth;
        let label = format!("{}/{}", berth.owner, berth.name);
        progress.step(format!("{label} gets {}", card::named(&berth.cards)));
        self.full_places().iter().for_each(|full| progress.step(full.to_string()));
        // The look at the cards that was decided on may be some seconds old: another one runs beside the work.
        let (built, npu) = tokio::join!(
            beside(self.build(
                &order.settings,
                berth,
                &order.owner,
                image,
                claimed.survey.as_ref(),
                progress
            )),
            beside(self.npu_of(berth, claimed.since))
        );
        let host_key = built.with_context(|| format!("making berth {label}"))?;
        if let Some(npu) = npu? {
            choose::check_health(self.accel(), &npu, &berth.cards, &self.rulings().await?)?;
            self.check_alone(berth).await?;
        }
        self.let_owner_in(berth).await?;
        crash::point("request.let-in");
        progress.check_listener()?;
        let (cards, port) = (card::named(&berth.cards), berth.port);
        let text = format!("{label} is live on {cards}, port {port}");
        tracing::info!(berth = label, cards, port, "live");
        let event = self.about(berth, "berth.live", actor, text);
        let id = berth.id;
        self.note_seen(id);
        let live = self.ledger(move |ledger| ledger.commit_live(id, &host_key, &event)).await?;
        self.write_lease_files().await;
        Ok(live)
    }

    /// A look at the cards of this berth; `None` where it has none.
    pub(super) async fn npu_of(&self, berth: &Berth, since: BootTime) -> Result<Option<Arc<NpuFacts>>> {
        if berth.cards.is_empty() {
            return Ok(None);
        }
        self.npu(since).await.map(Some)
    }

    /// An error when somebody took one of the berth's cards in the meantime: Docker gives a card to any container
    /// that names it.
    pub(super) async fn check_alone(&self, berth: &Berth) -> Result<()> {
        if berth.cards.is_empty() {
            return Ok(());
        }
        match self.outsider_with(&berth.cards, None).await? {
            None => Ok(()),
            Some((card, holder @ Holder::Container { .. })) => {
                Err(Fault::busy(format!("card {card} was taken by {holder} in the meantime")).into())
            }
            Some((card, holder)) => Err(Fault::busy(format!("card {card} is held by {holder}")).into()),
        }
    }

    /// Somebody outside berths who has one of these cards, but for a container; an error where that cannot be seen.
    pub(super) async fn outsider_with(
        &self,
        cards: &[CardId],
        but: Option<&str>,
    ) -> Result<Option<(CardId, Holder)>> {
        let outside = self.outsiders(&self.card_nodes().await?).await?;
        if let Some(reason) = outside.not_looked {
            return Err(Fault::host(reason).into());
        }
        let is_spared =
            |holder: &Holder| matches!(holder, Holder::Container { id, .. } if but == Some(id.as_str()));
        let mut held = outside.held.into_iter();
        Ok(held.find(|(card, holder)| cards.contains(card) && !is_spared(holder)))
    }
}

/// The lease that was asked for, or the profile's. An error when it is longer than the profile allows.
pub(super) fn lease(rules: &BerthRules, seconds: Option<u64>) -> Result<Duration, Fault> {
    let lease = seconds.map_or(rules.default_lease, Duration::from_secs);
    if lease.is_zero() {
        return Err(Fault::usage("a lease of 0 is over at once").help("--lease 8h"));
    }
    if lease > rules.max_lease {
        let most = humantime::format_duration(rules.max_lease);
        return Err(Fault::refused(format!("the longest lease on this node is {most}")));
    }
    Ok(lease)
}

fn free_name(order: &Order, held: &[Berth]) -> Result<String, Fault> {
    let owner = &order.owner.name;
    let taken = |name: &str| held.iter().any(|berth| berth.owner == *owner && berth.name == name);
    match &order.name {
        Some(name) if taken(name) => Err(Fault::refused(format!("{owner} has a berth {name} already"))
            .help("choose another name, or release that one")),
        Some(name) => Ok(name.clone()),
        None => {
            let numbered = (2..=held.len() + 2).map(|number| format!("{DEFAULT_NAME}-{number}"));
            let mut candidates = std::iter::once(DEFAULT_NAME.to_owned()).chain(numbered);
            candidates.find(|name| !taken(name)).ok_or_else(|| Fault::bug("no name is free"))
        }
    }
}

pub(super) fn claim_fault(error: ClaimError) -> Fault {
    match error {
        ClaimError::Ledger(fault) => fault,
        ClaimError::NameTaken { .. } => Fault::refused(error.to_string()),
        ClaimError::CardTaken(_) | ClaimError::PortTaken(_) => Fault::busy(error.to_string()),
    }
}
