using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What the suite knows of a kind of device: which rings it has and how to have something done, so that ring cases hold for every kind.</summary>
internal abstract class DeviceModel
{
    /// <summary>All kinds, by the word of <c>--device</c>.</summary>
    public static IReadOnlyList<DeviceModel> All { get; } =
        [new BlockModel(), new NetModel(), new EntropyModel(), new ConsoleModel(), new FileSystemModel(), new GenericModel()];

    /// <summary>The word of <c>--device</c>.</summary>
    public abstract string Name { get; }

    /// <summary>How many rings must run before the device serves.</summary>
    public virtual int Rings => 1;

    /// <summary>The ring on which <see cref="NewWork"/> is done.</summary>
    public virtual int WorkRing => 0;

    /// <summary>Whether <see cref="NewWork"/> is known.</summary>
    public virtual bool CanWork => true;

    /// <summary>Whether a disabled ring of the device takes its buffers and drops them (network) rather than waiting (all others).</summary>
    public virtual bool DropsWhenDisabled => false;

    /// <summary>Whether it has a configuration space for certain.</summary>
    public virtual bool HasConfiguration => true;

    /// <summary>The fewest bytes of a configuration space in which all fields are that a device with these features has, by the layout of the specification. 0: it may be without any.</summary>
    public virtual int LeastConfiguration(VirtioFeatures features) => 0;

    /// <summary>A request whose success shows.</summary>
    public abstract Work NewWork(CaseMemory memory);

    /// <summary>One that keeps the device at work for some time, if there is one: it moves so many bytes.</summary>
    public virtual Work NewLongWork(CaseMemory memory, int bytes) => NewWork(memory);

    /// <summary>The same as <see cref="NewWork"/> in exactly so many buffers, one behind the other in memory where they go the same way; null: there is no such request.</summary>
    public virtual Work? NewWorkOf(CaseMemory memory, int buffers) => null;

    public static DeviceModel? ByName(string name) => All.FirstOrDefault(model => model.Name == name);

    /// <summary>Where the last field ends: of those that each device has, and of those that it has with a feature bit.</summary>
    protected static int LastEnd(VirtioFeatures features, int always, params ReadOnlySpan<(int Bit, int End)> fields)
    {
        int last = always;
        foreach ((int bit, int end) in fields)
        {
            if (((ulong)features >> bit & 1) != 0)
                last = Math.Max(last, end);
        }

        return last;
    }

    /// <summary>A stretch of memory as so many buffers, the last of which is the longest.</summary>
    protected static ChainBuffer[] Cut(ulong at, int length, int buffers, bool writable)
    {
        int each = length / buffers;
        ChainBuffer[] pieces = new ChainBuffer[buffers];
        for (int i = 0; i < buffers; i++)
            pieces[i] = new(at + (ulong)(i * each), (uint)(i + 1 < buffers ? each : length - (i * each)), writable);
        return pieces;
    }
}
