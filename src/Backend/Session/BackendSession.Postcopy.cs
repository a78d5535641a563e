using Vhost.Protocol;

namespace Vhost.Backend;

// Postcopy: the guest runs here before all of its memory has arrived. What is missing is never touched: a request whose memory is under way stays on its ring until the front-end has placed it.
internal sealed partial class BackendSession
{
    /// <summary>Waits for memory at the same time, of one session.</summary>
    private const int MostPageThreads = 64;

    private PostcopyReception? _postcopy;
    private volatile bool _isPageOverdue;

    private Answer AdvisePostcopy()
    {
        const string Name = "VHOST_USER_POSTCOPY_ADVISE";
        if (_postcopy is not null)
            return Answer.Refuse(VhostUserViolation.WrongState, $"{Name}: came before, and VHOST_USER_POSTCOPY_END since has not");
        UserFaults? faults = null;
        try
        {
            faults = UserFaults.Open();
            Answer answer = Answer.Reply(default) with { Descriptor = faults.Duplicate() };
            _postcopy = new PostcopyReception(
                faults, new PageThreads(Math.Min(2 * _vrings.Length, MostPageThreads), _options.PageTimeout, _options.TimeProvider, PageOverdue));
            return answer;
        }
        catch (LinuxException e)
        {
            faults?.Dispose();
            LogRefused($"{Name}: {e.Message}");
            return Answer.Reply(default); // without the descriptor: the front-end learns what is missing, where it would only see us go
        }
    }

    private Answer ListenPostcopy()
    {
        const string Name = "VHOST_USER_POSTCOPY_LISTEN";
        if (_postcopy is not { } postcopy)
            return Answer.Refuse(VhostUserViolation.WrongState, $"{Name}: VHOST_USER_POSTCOPY_ADVISE comes first");
        if (postcopy.Listens)
            return Answer.Refuse(VhostUserViolation.WrongState, $"{Name}: came before, and VHOST_USER_POSTCOPY_END since has not");
        if (_memory.Regions.Count > 0)
            return Answer.Refuse(VhostUserViolation.WrongState, $"{Name}: {_memory.Regions.Count} memory regions are shared already; it comes before the first");
        postcopy.Listens = true;
        return Answer.Done;
    }

    private async ValueTask<Answer> EndPostcopyAsync()
    {
        if (_postcopy is null)
            return Answer.Refuse(VhostUserViolation.WrongState, "VHOST_USER_POSTCOPY_END: VHOST_USER_POSTCOPY_ADVISE comes first");
        await ForgetPostcopyAsync(isComplete: true).ConfigureAwait(false);
        foreach (VringState vring in _vrings)
            StartIfPossible(vring);
        return Answer.Done;
    }

    private async Task ForgetPostcopyAsync(bool isComplete)
    {
        PostcopyReception? postcopy = _postcopy;
        _postcopy = null;
        await (postcopy?.EndAsync(isComplete) ?? Task.CompletedTask).ConfigureAwait(false);
    }

    /// <summary>Answers with the addresses by which the front-end will hear of missing pages. A whole table is used once it has confirmed that it can serve those; a single region at once.</summary>
    private async ValueTask<Answer> UseIncomingAsync(
        string request, PostcopyReception postcopy, GuestMemory next, VhostUserMemoryRegion[] said, List<GuestMemoryRegion> mapped, bool isTable)
    {
        try
        {
            for (int i = 0; i < said.Length; i++)
                said[i] = said[i] with { UserAddress = postcopy.Watch(mapped[i].Memory) };
        }
        catch
        {
            foreach (GuestMemoryRegion region in mapped)
                postcopy.Forget(region.Memory);
            next.Dispose();
            throw;
        }

        if (isTable)
        {
            postcopy.Told = next;
            byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(said.Length)];
            VhostUserMemoryTable.Write(said, payload);
            return Answer.Reply(payload);
        }

        postcopy.AddedSinceConfirmed = true;
        Answer used = await UseMemoryAsync(request, next).ConfigureAwait(false);
        return used.Kind == AnswerKind.Done ? Answer.Reply(new VhostUserSingleRegion(said[0])) : used;
    }

    /// <summary>
    /// What follows such an answer: the same code again, 8 bytes of zero, no descriptor. It is awaited after a whole table; after single regions it may come, once for all of them. Null: the message is none.
    /// </summary>
    private async ValueTask<Answer?> TakeConfirmationAsync(PostcopyReception postcopy, VhostUserMessage message)
    {
        VhostUserHeader header = message.Header;
        bool isOne = header.PayloadSize == sizeof(ulong) && !header.IsReply && message.DescriptorCount == 0 && MessageValidator.CheckHeader(header).IsValid
            && (VhostUserRequest)header.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg;
        if (!isOne)
        {
            return postcopy.Told is null
                ? null
                : Answer.Close(VhostUserViolation.WrongState, $"{NameOf(message)}: VHOST_USER_SET_MEM_TABLE with 8 bytes of 0 is awaited, which confirms the addresses of the memory table");
        }

        if (postcopy.Told is null && !postcopy.AddedSinceConfirmed)
            return null;
        if (Decode<VhostUserU64>(message).Value is not 0 and var failed)
            return Answer.Close(VhostUserViolation.BadValue, $"{NameOf(message)}: the front-end confirms the addresses of memory with {failed}; only 0 means that it can serve them");
        (GuestMemory? told, postcopy.Told, postcopy.AddedSinceConfirmed) = (postcopy.Told, null, false);
        return told is null ? Answer.Done : await UseMemoryAsync(NameOf(message), told).ConfigureAwait(false);
    }

    /// <summary>Receives the next message, and starts rings meanwhile whose memory arrives.</summary>
    private async ValueTask<VhostUserMessage?> ReceiveBesideArrivalsAsync(bool first, CancellationToken stopping)
    {
        if (_postcopy is null)
            return await ReceiveAsync(first, stopping).ConfigureAwait(false);
        Task<VhostUserMessage?> receiving = ReceiveAsync(first, stopping).AsTask();
        try
        {
            while (_postcopy?.RingArrival is { } arrival && await Task.WhenAny(receiving, arrival).ConfigureAwait(false) == arrival)
            {
                _postcopy.TakeArrivedRings();
                foreach (VringState vring in _vrings)
                    StartIfPossible(vring);
            }
        }
        catch
        {
            await DropAsync(receiving).ConfigureAwait(false);
            throw;
        }

        return await receiving.ConfigureAwait(false);
    }

    /// <summary>The session ends; a message that has come by now has descriptors to be closed.</summary>
    private async Task DropAsync(Task<VhostUserMessage?> receiving)
    {
        _connection.Abort();
        await ((Task)receiving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (receiving.IsCompletedSuccessfully)
            receiving.Result?.Dispose();
    }

    /// <summary>Whether the memory of a ring has arrived; if not it is brought in, and the ring starts then.</summary>
    private bool HasArrived(VringState vring, GuestMemory memory)
    {
        if (_postcopy is not { } postcopy || !MappedRing.TryGetAbsent(memory, SetupOf(vring), out AbsentRange absent))
            return true;
        postcopy.BringInRing(vring.Index, absent);
        return false;
    }

    /// <summary>On a thread of the clock. The session ends at once, and with it all waiting.</summary>
    private void PageOverdue()
    {
        _isPageOverdue = true;
        _connection.Abort();
    }

    private void ThrowIfPageOverdue()
    {
        if (_isPageOverdue)
            throw new VhostUserTimeoutException($"{_connection.Name}: a page of memory that is under way has not come within {_options.PageTimeout.TotalSeconds:0.###} s");
    }
}
