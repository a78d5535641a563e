namespace Vhost.Protocol;

/// <summary>What a <see cref="DescriptorStream"/> may take of its owner's room and time. The names of the options go into messages.</summary>
internal sealed record DescriptorStreamLimits(long MostBytes, string MostBytesOption, TimeSpan Patience, string PatienceOption, TimeProvider TimeProvider);
