using System.Text;

namespace Vhost.Conformance;

/// <summary>A console: the work is to print a line, on the second ring.</summary>
internal sealed class ConsoleModel : DeviceModel
{
    public override string Name => "console";

    public override int Rings => 2;

    public override int WorkRing => 1;

    public override Work NewWork(CaseMemory memory)
    {
        byte[] line = Encoding.ASCII.GetBytes("conformance\n");
        ulong at = memory.Allocate(line.Length);
        memory.WriteBytes(at, line);
        return new([new(at, (uint)line.Length, false)], static _ => { });
    }
}
