using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A migration, a session, and a scripted back-end with a userfaultfd and mappings of its own.</summary>
internal sealed class PostcopyScene : IAsyncDisposable
{
    public const ulong Page = 4096;
    public const ulong Size = 16 * Page;
    public const ulong Other = 0x1_0000_0000;

    public static readonly BackendOffer Offer = new BackendOffer().With(VhostUserProtocolFeatures.PageFault);
    public static readonly VhostUserFrontendOptions Options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault };
    public static readonly VhostUserFrontendOptions Both =
        new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ConfigureMemSlots };

    private readonly List<SharedMemory> _mapped = [];

    private PostcopyScene(ulong size)
    {
        Memory = GuestRam.Create((0UL, size), (Other, size));
        Migration = new PostcopyMigration(Memory, (address, length, _) =>
        {
            Asked.TrySetResult((address, length));
            return default;
        });
    }

    public GuestMemory Memory { get; }

    public PostcopyMigration Migration { get; }

    public Dialogue Dialogue { get; private set; } = null!;

    public UserFaults Faults { get; } = UserFaults.Open();

    /// <summary>What the back-end has mapped.</summary>
    public List<IncomingMemory> Theirs { get; } = [];

    public Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]> Change { get; set; } = static told => told;

    public TaskCompletionSource<(GuestAddress Address, ulong Length)> Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static async Task<PostcopyScene> StartAsync(VhostUserFrontendOptions options, ulong size = Size)
    {
        PostcopyScene scene = new(size);
        scene.Dialogue = await Dialogue.StartAsync(Offer, options);
        scene.Dialogue.Backend.Misbehave = (request, _) => scene.Answer(request);
        return scene;
    }

    /// <summary>What a back-end does in postcopy; null: what it always does.</summary>
    public Misbehaviour? Answer(ScriptedRequest request)
    {
        switch (request.Code)
        {
            case VhostUserRequest.PostcopyAdvise:
                return Misbehaviour.Reply(request.Code, [], Faults.Descriptor);
            case VhostUserRequest.SetMemTable when request.Payload.Length > 8 && !request.WantsAcknowledgement:
                VhostUserMemoryRegion[] told = Change([.. Regions(request).Select((region, index) => Map(region, request.Descriptors[index]))]);
                byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(told.Length)];
                VhostUserMemoryTable.Write(told, payload);
                return Misbehaviour.Reply(request.Code, payload);
            case VhostUserRequest.AddMemReg when request.Payload.Length == 8:
                return Misbehaviour.Nothing;
            case VhostUserRequest.AddMemReg:
                byte[] single = new byte[VhostUserSingleRegion.Size];
                new VhostUserSingleRegion(Map(request.Region, request.Descriptors[0])).Write(single);
                return Misbehaviour.Reply(request.Code, single);
            default:
                return null;
        }
    }

    public void MarkAllArrived()
    {
        foreach (GuestMemoryRegion region in Memory.Regions)
            Migration.MarkArrived(region.GuestAddress, region.Size);
    }

    /// <summary>The session has ended for that reason.</summary>
    public async Task Lost<T>(string why)
        where T : VhostUserException => await Dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<T>().WithMessage($"*{why}*");

    public async ValueTask DisposeAsync()
    {
        await Dialogue.DisposeAsync();
        await Migration.DisposeAsync().InTime();
        foreach (IncomingMemory theirs in Theirs)
            theirs.Dispose();
        foreach (SharedMemory mapped in _mapped)
            mapped.Dispose();
        Faults.Dispose();
        Memory.Dispose();
    }

    private VhostUserMemoryRegion Map(VhostUserMemoryRegion region, SafeFileHandle descriptor)
    {
        SharedMemory memory = SharedMemory.Map(Libc.Duplicate(descriptor), region.MmapOffset, region.Size);
        _mapped.Add(memory);
        Theirs.Add(IncomingMemory.Beside(memory, Faults));
        return region with { UserAddress = new UserAddress(Theirs[^1].WatchedAddress) };
    }

    private static VhostUserMemoryRegion[] Regions(ScriptedRequest request)
    {
        VhostUserMemoryTable.TryRead(request.Payload, out VhostUserMemoryTable table).Should().BeTrue();
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        return regions;
    }
}
